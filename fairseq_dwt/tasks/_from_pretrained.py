"""What both stages share: sentence prediction from a pre-trained file, scored as GLUE scores."""

# no postponed annotations here: fairseq reads the types of the config fields

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional

import fairseq_cli.train
import torch
from fairseq import checkpoint_utils
from fairseq.logging import metrics
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from .. import launch
from ..checkpoint import Pretrained, allow_fairseq_classes
from ..errors import DwtError
from ..glue.dev_scores import DevScores
from ..glue.metrics import METRICS

__all__ = ["FromPretrainedConfig", "FromPretrainedTask"]

logger = logging.getLogger(__name__)


@dataclass
class FromPretrainedConfig(SentencePredictionConfig):
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
    cwd: Optional[str] = field(
        default=None, metadata={"help": "folder that relative paths start from [Hydra's cwd]"}
    )


class FromPretrainedTask(SentencePredictionTask):
    """Sentence prediction that takes its shape from a pre-trained file and reports GLUE's scores.

    Attributes:
        pretrained: the file that the run starts from.
        root: fairseq's whole config.
    """

    pretrained: Pretrained
    root: DictConfig

    @classmethod
    def setup_task(cls, cfg: FromPretrainedConfig, **kwargs: Any) -> "FromPretrainedTask":
        """Resolve paths, read the pre-trained file, load the dictionaries.

        Raises:
            DwtError: a path is missing, or the settings contradict each other.
        """
        _forget_last_run()
        allow_fairseq_classes()
        root = cfg._get_root()  # type: ignore[attr-defined]
        launch.resolve_paths(root, cls._cwd(cfg))
        with open_dict(cfg):  # type: ignore[arg-type]
            cfg.data = root.task.data
        pretrained = Pretrained(launch.pretrained_file(root))
        _check_data(cfg.data)
        # fairseq's build_model gives this to the model
        cfg.max_positions = pretrained.settings["max_positions"]
        task = super().setup_task(cfg, **kwargs)
        task.root, task.pretrained = root, pretrained
        names = [name for name in cfg.metrics.split(",") if name]
        unknown = sorted(set(names) - set(METRICS))
        if unknown:
            raise DwtError(f"task.metrics: expected some of {', '.join(METRICS)}, got {unknown[0]}")
        # Label dictionaries are ordered by frequency: a class is not its label's number.
        labels = task.label_dictionary
        task._dev_scores = DevScores(names, labels.index(cfg.positive_label) - labels.nspecial)
        return task

    @staticmethod
    def _cwd(cfg: FromPretrainedConfig) -> Optional[str]:
        if cfg.cwd:
            return cfg.cwd
        return HydraConfig.get().runtime.cwd if HydraConfig.initialized() else None

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> torch.nn.Module:
        """A RoBERTa of the pre-trained file's shape, with the task's head."""
        launch.set_shape(cfg, self.pretrained)
        model = super().build_model(cfg)
        stock = {key: self.cfg[key] for key in SentencePredictionConfig.__dataclass_fields__}
        launch.save_as(self.root, {**stock, "_name": "sentence_prediction"})
        return model

    # -- scores ---------------------------------------------------------------------------------

    def post_validate(self, model: Any, stats: Any, agg: Any) -> None:
        """fairseq has validated one subset and goes on to the next."""
        self._dev_scores.finish()

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> Any:
        """The criterion's outputs; what the head predicted is kept for the scores."""
        if not self._dev_scores.names:
            return super().valid_step(sample, model, criterion)
        with _outputs(model.classification_heads[self.cfg.classification_head_name]) as logits:
            result = super().valid_step(sample, model, criterion)
        output = logits[-1].float()
        predicted = output.view(-1) if self.cfg.regression_target else output.argmax(dim=-1)
        self._dev_scores.add(sample["id"], predicted, sample["target"])
        return result

    def reduce_metrics(self, logging_outputs: List[Dict[str, Any]], criterion: Any) -> None:
        """The criterion's metrics and, in validation, the task's GLUE scores in per cent."""
        super().reduce_metrics(logging_outputs, criterion)
        if not criterion.training:
            for name in self._dev_scores.names:
                # derived: fairseq asks for it at the end; it would average anything else
                metrics.log_derived(name, lambda _, name=name: self._dev_scores.percent(name))


def _forget_last_run() -> None:
    """fairseq keeps the best score on its functions, where a multirun's next job would find it."""
    for function in (checkpoint_utils.save_checkpoint, fairseq_cli.train.should_stop_early):
        for name in ("best", "num_runs"):
            if hasattr(function, name):
                delattr(function, name)


def _check_data(data: str) -> None:
    if not os.path.isfile(os.path.join(data, "input0", "dict.txt")):
        raise DwtError(
            f"task.data: expected a folder that preprocess.py wrote (input0/dict.txt, label/…), "
            f"found none at {data}; run examples/glue/preprocess.py or check the path"
        )


@contextmanager
def _outputs(module: torch.nn.Module) -> Iterator[List[torch.Tensor]]:
    """Collect what ``module`` returns, so that scores cost no second forward pass."""
    seen: List[torch.Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        yield seen
    finally:
        handle.remove()
