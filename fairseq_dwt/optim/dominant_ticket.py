"""Optimizer ``dominant_ticket``: any optimizer, inside a ticket."""

# no postponed annotations here: fairseq reads the types of the config fields

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.optim import FairseqOptimizer, _build_optimizer, register_optimizer
from omegaconf import II

from ..errors import DwtError
from ..launch import wrapped_config
from ..masked import TrainedEntries, frozen_entries_kept

__all__ = ["DominantTicket", "DominantTicketConfig"]


@dataclass
class DominantTicketConfig(FairseqDataclass):
    ticket: Optional[str] = field(
        default=None, metadata={"help": "ticket to train inside of: a file, bitfit, or random"}
    )
    k: Optional[int] = field(
        default=1, metadata={"help": "columns per matrix, at most; null takes all of the ticket's"}
    )
    like: Optional[str] = field(
        default=None,
        metadata={"help": "random: a ticket whose number of columns each matrix gets"},
    )
    ticket_seed: Optional[int] = field(
        default=None, metadata={"help": "random: seed of the drawn columns [common.seed]"}
    )
    mode: ChoiceEnum(["masked"]) = field(  # type: ignore[valid-type]
        default="masked", metadata={"help": "how the ticket is trained: dense and masked"}
    )
    wrapped_optimizer: Any = field(
        default=None, metadata={"help": "optimizer that does the steps, with its _name [adam]"}
    )
    lr: List[float] = II("optimization.lr")


@register_optimizer("dominant_ticket", dataclass=DominantTicketConfig)
class DominantTicket(FairseqOptimizer):
    """Steps of the wrapped optimizer, of which only the ticket's entries and the head remain.

    The task ``ticket_finetune`` decides what trains, before fairseq wraps the model, and marks
    each parameter with :class:`~fairseq_dwt.masked.TrainedEntries`.

    Raises:
        DwtError: the parameters are not marked: another task built the model.
    """

    def __init__(self, cfg: DominantTicketConfig, params: Any):
        super().__init__(cfg)
        params = list(params)
        if not all(isinstance(getattr(p, "param_group", None), TrainedEntries) for p in params):
            raise DwtError(
                "optimizer dominant_ticket: expected a model that was cut down to its ticket, got "
                "one with other trainable parameters; use task._name=ticket_finetune, and "
                "common.fp16_no_flatten_grads=true with fp16"
            )
        self.wrapped = _build_optimizer(
            wrapped_config(cfg, "wrapped_optimizer", default="adam"), params
        )

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The wrapped torch optimizer."""
        return self.wrapped.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self.wrapped.optimizer = optimizer

    @property
    def optimizer_config(self) -> Dict[str, Any]:
        """As the wrapped optimizer."""
        return self.wrapped.optimizer_config

    @property
    def supports_flat_params(self) -> bool:
        """False: a flattened parameter no longer tells which of its entries are trained."""
        return False

    def step(self, closure: Any = None, scale: float = 1.0, groups: Any = None) -> None:
        """One step of the wrapped optimizer inside the ticket."""
        with frozen_entries_kept(self.params):
            self.wrapped.step(closure, scale=scale, groups=groups)

    def average_params(self) -> None:
        """As the wrapped optimizer."""
        self.wrapped.average_params()
