"""Sentence prediction whose validations are scored as GLUE scores, and their predictions kept."""

# no postponed annotations here: fairseq reads the types of the config fields

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Dict, Iterable, Iterator, List, Optional

import torch
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from fairseq.distributed.utils import is_master
from fairseq.logging import metrics
from fairseq.logging.meters import MetersDict
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from omegaconf import DictConfig

from ..errors import DwtError
from ..glue.dev_scores import DevScores
from ..glue.metrics import METRICS
from ..glue.predictions import DevPredictions
from ..model.anatomy import heads_in
from ..model.products import products_in_fp32
from ..run.folder import PREDICTIONS
from ..run.resume import checkpoint_to_resume


@dataclass
class ScoredConfig(SentencePredictionConfig):
    # fairseq reads these two from the criterion, which here may be a wrapper
    regression_target: bool = field(
        default=False, metadata={"help": "predict a number, as for STS-B"}
    )
    classification_head_name: str = field(
        default="sentence_classification_head", metadata={"help": "name of the head"}
    )
    metrics: str = field(
        default="",
        metadata={
            "help": "scores of a validation beside accuracy, in percent: " + ", ".join(METRICS)
        },
    )
    positive_label: str = field(default="1", metadata={"help": "label whose F1 is reported"})


class ScoredTask(SentencePredictionTask):
    """Sentence prediction that reports GLUE's scores over all rows of a dev set.

    Attributes:
        root: fairseq's whole config.
    """

    root: DictConfig
    _subsets_validated = 0
    _best_score: Optional[float] = None

    @classmethod
    def setup_task(cls, cfg: ScoredConfig, **kwargs: Any) -> "ScoredTask":
        """Load the dictionaries.

        Raises:
            DwtError: a score that is none, or a label that the data do not have.
        """
        task = super().setup_task(cfg, **kwargs)
        names = [name for name in cfg.metrics.split(",") if name]
        unknown = sorted(set(names) - set(METRICS))
        if unknown:
            raise DwtError(f"task.metrics: expected some of {', '.join(METRICS)}, got {unknown[0]}")
        # Label dictionaries are ordered by frequency: a class is not its label's number.
        labels = task.label_dictionary
        if "f1" in names and cfg.positive_label not in labels:
            raise DwtError(
                f"task.positive_label: expected a label of {cfg.data}, got {cfg.positive_label!r}"
            )
        task._dev_scores = DevScores(names, labels.index(cfg.positive_label) - labels.nspecial)
        return task

    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """The criterion.

        Raises:
            DwtError: checkpoints are to be chosen by a score that no validation will have.
        """
        criterion = super().build_criterion(cfg, *args, **kwargs)
        wrapped = getattr(criterion, "wrapped", criterion)
        # of another criterion, or with its own scores, the first validation tells
        own_scores = getattr(wrapped, "keep_pred_and_targ", False)
        validates = not self.root.dataset.disable_validation
        if validates and type(wrapped) is SentencePredictionCriterion and not own_scores:
            losses = ["loss", "nll_loss"] if wrapped is criterion else ["loss", "nll_loss", "l1"]
            accuracy = [] if self.cfg.regression_target else ["accuracy"]
            self._check_metric([*losses, *accuracy, *self._dev_scores.names])
        return criterion

    def _check_metric(self, known: Iterable[str]) -> None:
        metric = self.root.checkpoint.best_checkpoint_metric
        if metric not in known:
            raise DwtError(
                f"checkpoint.best_checkpoint_metric: expected one of {', '.join(sorted(known))}, "
                f"got {metric}; name one, or its score in task.metrics"
            )

    def begin_valid_epoch(self, epoch: int, model: Any) -> None:
        """A validation begins: its first subset is the one that fairseq chooses checkpoints by."""
        super().begin_valid_epoch(epoch, model)
        self._subsets_validated = 0

    def post_validate(self, model: Any, stats: Any, agg: Any) -> None:
        """fairseq has validated one subset and goes on to the next."""
        if self._subsets_validated == 0:
            self._keep_predictions(stats)
        self._subsets_validated += 1
        self._dev_scores.finish()

    def _keep_predictions(self, stats: Any) -> None:
        """Write the predictions where this validation is the best so far.

        fairseq compares those alone whose weights it saves: with checkpoints less often than
        validations, ``checkpoint_best.pt`` may be of another.
        """
        checkpoint = self.root.checkpoint
        metric, path = checkpoint.best_checkpoint_metric, self._predictions_file
        self._check_metric(stats)
        score = float(stats[metric])
        rows = self._dev_scores.rows()  # all workers must come here
        if not is_master(self.root.distributed_training) or not rows:
            return
        if self._best_score is None and os.path.isfile(path) and checkpoint_to_resume(self.root):
            self._best_score = DevPredictions.load(path).score
        better = 1 if checkpoint.maximize_best_checkpoint_metric else -1
        if self._best_score is not None and better * score < better * self._best_score:
            return
        self._best_score = score
        update = int(stats["num_updates"])
        DevPredictions(update, metric, score, self._dev_scores.positive, rows).save(path)

    @property
    def _predictions_file(self) -> str:
        return os.path.join(self.root.checkpoint.save_dir, PREDICTIONS)

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> Any:
        """The criterion's outputs; what the head predicted is kept for the scores."""
        with _outputs(heads_in(model)[self.cfg.classification_head_name]) as logits:
            with products_in_fp32(model):
                result = super().valid_step(sample, model, criterion)
        output = logits[-1].float()
        predicted = output.view(-1) if self.cfg.regression_target else output.argmax(dim=-1)
        self._dev_scores.add(sample["id"], predicted, sample["target"])
        return result

    def reduce_metrics(self, logging_outputs: List[Dict[str, Any]], criterion: Any) -> None:
        """The criterion's metrics and, in validation, the task's GLUE scores in per cent."""
        super().reduce_metrics(logging_outputs, criterion)
        if criterion.training:
            return
        # The innermost aggregator is of this step alone, and fairseq reads it after every step; the
        # outer ones it reads when the dev set is through. There the score is derived, not averaged.
        for aggregator in metrics.get_active_aggregators()[:-1]:
            for name in self._dev_scores.names:
                if name not in aggregator:
                    score = MetersDict._DerivedMeter(partial(self._percent, name))
                    aggregator.add_meter(name, score, priority=20)

    def _percent(self, name: str, _meters: Any) -> float:
        return self._dev_scores.percent(name)


@contextmanager
def _outputs(module: torch.nn.Module) -> Iterator[List[torch.Tensor]]:
    """Collect what ``module`` returns, so that scores cost no second forward pass."""
    seen: List[torch.Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        yield seen
    finally:
        handle.remove()
