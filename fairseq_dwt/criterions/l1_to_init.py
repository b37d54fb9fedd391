"""Criterion ``l1_to_init``: any criterion plus λ‖θ − θ0‖₁ (equation 1)."""

# no postponed annotations here: fairseq reads the types of the config fields

from dataclasses import dataclass, field
from typing import Any, Optional, Type

import torch
from fairseq import criterions
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from omegaconf import II, open_dict

from ..checkpoint import Pretrained
from ..errors import DwtError
from ..find.l1 import InitDistance
from ..run.wrapped import wrapped_config
from ..train.halves import HALVES, fp32_copies


@dataclass
class L1ToInitConfig(FairseqDataclass):
    l1_lambda: float = field(
        default=1e-3, metadata={"help": "λ, the weight of the L1 distance from θ0; 0 turns it off"}
    )
    init: Optional[str] = field(
        default=II("checkpoint.finetune_from_model"),
        metadata={"help": "file of θ0; by default the file that the run starts from"},
    )
    wrapped_criterion: Any = field(
        default=None,
        metadata={"help": "criterion to add the distance to, with its _name [sentence_prediction]"},
    )


@register_criterion("l1_to_init", dataclass=L1ToInitConfig)
class L1ToInit(FairseqCriterion):
    """L(D, f, θ) + λ‖θ − θ0‖₁ over the trained parameters of the transformer layers.

    fairseq sums losses and divides gradients by the total sample size, so the penalty is added as
    sample_size · λ · ‖θ − θ0‖₁: after normalisation its gradient is λ · sign(θ − θ0), whatever the
    batch size, update_freq, number of workers and loss scale. Losses that are logged, in training
    and validation, are those of the wrapped criterion; the distance is logged beside as ``l1``.

    Args:
        cfg: λ, θ0's file, the wrapped criterion.
        task: a fairseq task.
        wrapped: the criterion to add to.

    Raises:
        DwtError: λ is negative, or no file of θ0 is known.
    """

    wrapped_class: Type[FairseqCriterion] = FairseqCriterion

    #: Whether the distance is part of the loss; without, it is logged alone.
    pulls = True
    _copies_known = False
    _distance_in_validation: Optional[torch.Tensor] = None

    def __init__(self, cfg: L1ToInitConfig, task: Any, wrapped: FairseqCriterion):
        super().__init__(task)
        if not cfg.l1_lambda >= 0:
            raise DwtError(f"criterion.l1_lambda: expected a number ≥ 0, got {cfg.l1_lambda}")
        self.l1_lambda = cfg.l1_lambda
        self.wrapped = wrapped
        self.pretrained = _open_init(cfg.init, task)
        self.distance = InitDistance(self.pretrained.tensors, self.pretrained.path)

    @classmethod
    def around(
        cls,
        wrapped: FairseqCriterion,
        task: Any,
        l1_lambda: float,
        distance: InitDistance,
        pulls: bool,
    ) -> "L1ToInit":
        """This criterion around one that a recipe has built.

        Args:
            wrapped: the recipe's criterion.
            task: the recipe's task.
            l1_lambda: λ.
            distance: from θ0.
            pulls: whether the distance is part of the loss.
        """
        bound: Any = type(cls.__name__, (cls,), {"wrapped_class": type(wrapped)})
        made: L1ToInit = bound.__new__(bound)
        FairseqCriterion.__init__(made, task)
        made.wrapped, made.l1_lambda, made.distance, made.pulls = (
            wrapped,
            l1_lambda,
            distance,
            pulls,
        )
        made.train(wrapped.training)
        return made

    def __getattr__(self, name: str) -> Any:
        """What tasks ask of a criterion, as ``sentence_avg``: the wrapped one's."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "wrapped":
                raise
            return getattr(self.wrapped, name)

    @classmethod
    def build_criterion(cls, cfg: L1ToInitConfig, task: Any) -> "L1ToInit":
        """Build the wrapped criterion, then this one around it."""
        wrapped_cfg = wrapped_config(cfg, "wrapped_criterion", default="sentence_prediction")
        if wrapped_cfg._name == "sentence_prediction" and "regression_target" not in wrapped_cfg:
            with open_dict(wrapped_cfg):
                wrapped_cfg.regression_target = getattr(task.cfg, "regression_target", False)
        wrapped = criterions.build_criterion(wrapped_cfg, task)
        # fairseq reduces metrics by the criterion's class, so the class must know what it wraps.
        bound = type(cls.__name__, (cls,), {"wrapped_class": type(wrapped)})
        return bound(cfg, task, wrapped)

    def follow(self, optimizer: Any) -> None:
        """Take θ from the fp32 copies that ``optimizer`` steps, where it has such."""
        self._copies_known = True
        self.distance.follow(fp32_copies(optimizer))

    def forward(self, model: Any, sample: Any, reduce: bool = True) -> Any:
        """The wrapped criterion's (loss, sample_size, logging_output), the distance added.

        Raises:
            DwtError: in half precision, where the task does not :meth:`follow` the optimizer.
        """
        if not self._copies_known and self.training:
            self._copies_known = True
            _refuse_rounded_weights(model)
        loss, sample_size, logging_output = self.wrapped(model, sample, reduce)
        if self.training:
            self._distance_in_validation = None
            with torch.set_grad_enabled(self.pulls and torch.is_grad_enabled()):
                distance = self.distance(model)
            if self.pulls and self.l1_lambda > 0:
                loss = loss + sample_size * self.l1_lambda * distance
            distance = distance.detach()
        else:
            # θ stands still while fairseq validates: one pass over the weights is enough.
            if self._distance_in_validation is None:
                self._distance_in_validation = self.distance(model).detach()
            distance = self._distance_in_validation
        # weighted, because fairseq sums logging outputs over batches and workers
        logging_output["l1_x_sample_size"] = distance * sample_size
        return loss, sample_size, logging_output

    @classmethod
    def reduce_metrics(cls, logging_outputs: Any) -> None:  # type: ignore[override]
        """The wrapped criterion's metrics, and ``l1``: ‖θ − θ0‖₁."""
        cls.wrapped_class.reduce_metrics(logging_outputs)
        sample_size = sum(log.get("sample_size", 0) for log in logging_outputs)
        if sample_size > 0:
            l1 = sum(log.get("l1_x_sample_size", 0) for log in logging_outputs) / sample_size
            metrics.log_scalar("l1", l1, sample_size, round=3)

    def logging_outputs_can_be_summed(self) -> bool:  # type: ignore[override]
        """As the wrapped criterion."""
        return self.wrapped.logging_outputs_can_be_summed()


def _refuse_rounded_weights(model: torch.nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.dtype in HALVES:
            raise DwtError(
                f"criterion l1_to_init: {name}: expected fp32 weights, got {parameter.dtype}, "
                "whose rounding hides θ − θ0; use task._name=ticket_extract, which sees the "
                "optimizer's fp32 copies, or train in fp32"
            )


def _open_init(path: Optional[str], task: Any) -> Pretrained:
    """θ0's file; the one that the task has read already, unless another is named."""
    known: Optional[Pretrained] = getattr(task, "pretrained", None)
    if known is not None and path in (None, known.path):
        return known
    if not path:
        raise DwtError(
            "criterion.init: expected the file of θ0, got none; set "
            "checkpoint.finetune_from_model=path/to/model.pt"
        )
    return Pretrained(path)
