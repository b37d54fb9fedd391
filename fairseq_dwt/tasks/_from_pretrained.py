"""What both stages share: training that starts from a pre-trained file."""

# no postponed annotations here: fairseq reads the types of the config fields

import logging
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional

import torch
from fairseq.dataclass import ChoiceEnum
from fairseq.distributed.utils import is_master
from fairseq.optim import FairseqOptimizer
from fairseq.tasks.sentence_prediction import SentencePredictionConfig
from omegaconf import DictConfig, open_dict

from ..checkpoint import Pretrained
from ..classes_in_checkpoints import allow_fairseq_classes
from ..errors import DwtError
from ..find.l1 import first_difference
from ..model.encoder import train_below_frozen_embeddings, use_sdpa
from ..model.packed import use_packed
from ..model.products import products_in_fp32
from ..model.roberta import keep_own_lm_head
from ..optim.dominant_ticket import DominantTicket
from ..run import config
from ..run.batches import ByLength
from ..run.data import check_data
from ..run.folder import hold
from ..run.precision import settle_precision
from ..run.progress import TimeLeft
from ..run.resume import check_precision, early_stopping_state, resume
from ..run.start import check_layers, pretrained_file
from ..train import halves
from ._scored import ScoredConfig, ScoredTask

logger = logging.getLogger(__name__)


@dataclass
class FromPretrainedConfig(ScoredConfig):
    attention: ChoiceEnum(["packed", "sdpa", "fairseq"]) = field(  # type: ignore[valid-type]
        default="packed",
        metadata={
            "help": "packed: the encoder on real tokens alone, no padding, through the projection "
            "modules; sdpa: on padded batches, with torch's fused kernels, GELU without an fp32 "
            "copy; fairseq: the encoder as fairseq ships it"
        },
    )
    batch_by_length: bool = field(
        default=False,
        metadata={"help": "train on batches of similar length; the paper's are of any lengths"},
    )
    cwd: Optional[str] = field(
        default=None, metadata={"help": "folder that relative paths start from [Hydra's cwd]"}
    )
    folder: Optional[str] = field(
        default=None, metadata={"help": "folder that Hydra made for the run [its working folder]"}
    )


class FromPretrainedTask(ScoredTask):
    """Scored sentence prediction that takes its shape from a pre-trained file.

    Attributes:
        pretrained: the file that the run starts from.
        root: fairseq's whole config.
        model: as the task built it, without fairseq's wrappers.
        copies: the fp32 copies of its parameters in half precision; empty in fp32.
        stops_when_told: Ctrl-C and SIGTERM end the run after an update, with a checkpoint.
    """

    pretrained: Pretrained
    root: DictConfig
    model: torch.nn.Module
    copies: Mapping[torch.Tensor, torch.Tensor] = {}
    stops_when_told = True
    _checked = False
    _optimizer: Any = None
    _resumed: Optional[Mapping[str, Any]] = None

    @classmethod
    def setup_task(cls, cfg: FromPretrainedConfig, **kwargs: Any) -> "FromPretrainedTask":
        """Resolve paths, read the pre-trained file, load the dictionaries.

        Raises:
            DwtError: a path is missing, or the settings contradict each other.
        """
        allow_fairseq_classes()
        root = cfg._get_root()  # type: ignore[attr-defined]
        config.settle_folder(root, cfg.folder)
        if is_master(root.distributed_training):
            hold(root.checkpoint.save_dir)
        resumed = resume(root)
        settle_precision(root)
        config.settle_schedule(root)
        check_precision(root)
        config.resolve_paths(root, cfg.cwd or config.users_folder())
        with open_dict(cfg):  # type: ignore[arg-type]
            cfg.data = root.task.data
        pretrained = Pretrained(pretrained_file(root))
        # fairseq's build_model gives this to the model
        cfg.max_positions = pretrained.settings["max_positions"]
        check_data(cfg, root.dataset, pretrained)
        task = super().setup_task(cfg, **kwargs)
        task.root, task.pretrained, task._resumed = root, pretrained, resumed
        task._time_left = TimeLeft(root.optimization.max_update)
        return task

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> torch.nn.Module:
        """A RoBERTa of the pre-trained file's shape, with the task's head."""
        check_layers(cfg)
        config.set_shape(cfg, self.pretrained)
        model = super().build_model(cfg)
        if self.cfg.attention != "fairseq":
            (use_packed if self.cfg.attention == "packed" else use_sdpa)(model)
        if getattr(cfg, "checkpoint_activations", False):
            train_below_frozen_embeddings(model)
        if not self.pretrained.lm_head:
            keep_own_lm_head(model)
        stock = {key: self.cfg[key] for key in SentencePredictionConfig.__dataclass_fields__}
        config.save_as(self.root, {**stock, "_name": "sentence_prediction"})
        self.model = model
        return model

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> Any:
        """A split; the training set in order of length where the batches are to be of one."""
        super().load_dataset(split, combine=combine, **kwargs)
        if split == self.root.dataset.train_subset:
            config.tell_schedule(self.root, len(self.datasets[split]))
        if self.cfg.batch_by_length and split == self.root.dataset.train_subset:
            self.datasets[split] = ByLength(self.datasets[split], self.cfg.seed)
        return self.datasets[split]

    def train_step(
        self,
        sample: Any,
        model: Any,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
    ) -> Any:
        """A step; before the first update, make sure that the model is θ0.

        Raises:
            DwtError: at update 0 the model differs from the pre-trained file.
        """
        if isinstance(optimizer, FairseqOptimizer):
            self._before(model, criterion, optimizer, update_num)
        with products_in_fp32(model):
            return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def _before(self, model: Any, criterion: Any, optimizer: Any, update_num: int) -> None:
        """Before a step of the run, and not of a look at its first batches."""
        if not self._checked and update_num == 0:
            init = getattr(criterion, "pretrained", self.pretrained)
            different = first_difference(model, init.tensors)
            if different is not None:
                raise DwtError(
                    f"{different}: expected the values of {init.path} before the first "
                    "update, got others; start from the file that θ0 is read from"
                )
        self._checked = True
        self._time_left.step(update_num)
        if optimizer is not self._optimizer:
            self._follow(optimizer, criterion, update_num)

    def _follow(self, optimizer: Any, criterion: Any, update_num: int) -> None:
        """Training begins or goes on with ``optimizer``: know its fp32 copies, restore them."""
        saved, self._resumed = self._resumed, None
        if saved is not None and saved["num_updates"] == update_num:
            halves.load_state(saved, optimizer, self.model.named_parameters())
        self._optimizer, self.copies = optimizer, halves.fp32_copies(optimizer)
        if hasattr(criterion, "follow"):
            criterion.follow(optimizer)

    def state_dict(self) -> Dict[str, Any]:
        """What a checkpoint keeps of the task."""
        state = {**super().state_dict(), **early_stopping_state(), "labels": self.labels()}
        second = os.path.join(self.cfg.data, "input1", f"{self.root.dataset.train_subset}.idx")
        state["sentences"] = 2 if os.path.isfile(second) else 1
        # a ticket's optimizer keeps the copies itself, of the trained entries alone
        inside_ticket = isinstance(getattr(self._optimizer, "fp32_optimizer", None), DominantTicket)
        named = self.model.named_parameters()
        half = halves.state(self._optimizer, named, weights=not inside_ticket)
        return {**state, halves.KEY: half} if half else state

    def labels(self) -> List[str]:
        """Label strings by class index; none for regression."""
        if self.cfg.regression_target:
            return []
        first = self.label_dictionary.nspecial
        return [self.label_dictionary[first + i] for i in range(self.cfg.num_classes)]

    def ended(self) -> None:
        """Training has come to its end: say what was written and what comes next."""
        if is_master(self.root.distributed_training):
            logger.info(self._ending(os.path.abspath(self.root.checkpoint.save_dir)))

    def _ending(self, folder: str) -> str:
        return f"next: fairseq-dwt report {folder} -o report"

    def reduce_metrics(self, logging_outputs: List[Dict[str, Any]], criterion: Any) -> None:
        """The criterion's metrics, and in training the time that is left."""
        super().reduce_metrics(logging_outputs, criterion)
        if criterion.training:
            self._time_left.log()
