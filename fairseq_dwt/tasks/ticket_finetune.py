"""Task ``ticket_finetune``: stage 2, fine-tuning inside a ticket; without a ticket, of all."""

# no postponed annotations here: fairseq reads the types of the config fields

import logging
import os
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.distributed.utils import is_master
from fairseq.tasks import register_task
from omegaconf import DictConfig, open_dict

from ..errors import DwtError
from ..find.by_name import open_ticket
from ..glue.suite import task_of_folder
from ..model.names import is_head
from ..optim.dominant_ticket import DominantTicketConfig
from ..patches.ema import average_inside
from ..run.first_batches import ticket_of_batches
from ..run.folder import CHECKPOINT_BEST, ELEMENT_MASK, FOUND, TICKET
from ..run.precision import refuse_sharding
from ..run.same_run import check_same_run
from ..ticket import AnyTicket
from ..train.compact import make_compact, write_back
from ..train.masked import freeze_outside, trained_parts
from ._from_pretrained import FromPretrainedConfig, FromPretrainedTask

logger = logging.getLogger(__name__)


@dataclass
class TicketFinetuneConfig(FromPretrainedConfig):
    pass


@register_task("ticket_finetune", dataclass=TicketFinetuneConfig)
class TicketFinetuneTask(FromPretrainedTask):
    """Sentence prediction that trains what ``optimizer.ticket`` says, and the head.

    With another optimizer than ``dominant_ticket`` everything trains: full fine-tuning, the
    baseline, from the same file and with the same scores. The ticket that was used, cut to k, is
    written beside the checkpoints.
    """

    @classmethod
    def setup_task(cls, cfg: TicketFinetuneConfig, **kwargs: Any) -> "TicketFinetuneTask":
        """As the base task, and refuse what would move weights outside the ticket (DwtError)."""
        task = super().setup_task(cfg, **kwargs)
        if task._has_ticket:
            refuse_sharding(task.root)
        if task._is_compact and task.cfg.attention == "fairseq":
            raise DwtError(
                "task.attention: fairseq's attention goes around the layers that compact training "
                "replaces; leave it at packed, or set optimizer.mode=masked"
            )
        return task

    @property
    def _has_ticket(self) -> bool:
        return getattr(self.root.get("optimizer"), "_name", None) == "dominant_ticket"

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> torch.nn.Module:
        """A RoBERTa of which the ticket and the head are trained.

        Raises:
            DwtError: the ticket is missing, unreadable, or made for another model; the run folder
                holds a run inside another ticket.
        """
        model = super().build_model(cfg)
        head = sum(p.numel() for name, p in model.named_parameters() if is_head(name))
        if not self._has_ticket:
            check_same_run(self)
            self._log("full fine-tuning", self.pretrained.num_parameters, head)
            return model
        ticket = self._open_ticket(self.root.optimizer, model)
        self._record(ticket)
        if self.root.ema.store_ema:
            average_inside(model, trained_parts(model, ticket))
        cut_down = make_compact if self._is_compact else freeze_outside
        trained = cut_down(model, ticket)
        self._log(f"ticket {ticket.origin.method}", trained, head)
        with open_dict(self.root.optimizer):
            self.root.optimizer.trained_entries = trained + head
        return model

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Step, and bring the weights of compact layers up to date."""
        super().optimizer_step(optimizer, model, update_num)
        write_back(model)

    def _ending(self, folder: str) -> str:
        best = os.path.join(folder, CHECKPOINT_BEST)
        if not os.path.isfile(best):
            return super()._ending(folder)
        told = f"wrote {best}; {super()._ending(folder)}"
        if self._has_ticket:
            told += (
                f", and the task's delta: fairseq-dwt export --init {self.pretrained.path} "
                f"--tuned {best} -o {task_of_folder(self.cfg.data)}.delta.safetensors"
            )
        return told

    def _log(self, what: str, trained: int, head: int) -> None:
        total = self.pretrained.num_parameters
        logger.info(
            f"{what}: {trained:,} of {total:,} pre-trained parameters train "
            f"(sparsity {trained / total:.4%}), and the head's {head:,}"
        )

    @property
    def _is_compact(self) -> bool:
        return self._has_ticket and str(_setting(self.root.optimizer, "mode")) == "compact"

    def _open_ticket(self, optimizer: DictConfig, model: torch.nn.Module) -> AnyTicket:
        word = _setting(optimizer, "ticket")
        if word in FOUND:
            return ticket_of_batches(word, self, model).top(_setting(optimizer, "k"))
        seed = _setting(optimizer, "ticket_seed")
        return open_ticket(
            _setting(optimizer, "ticket"),
            self.pretrained,
            k=_setting(optimizer, "k"),
            seed=self.root.common.seed if seed is None else seed,
            like=_setting(optimizer, "like"),
            percent=_setting(optimizer, "percent"),
        )

    def _record(self, ticket: AnyTicket) -> None:
        folder = self.root.checkpoint.save_dir
        check_same_run(self, ticket)
        if is_master(self.root.distributed_training):
            ticket.save(os.path.join(folder, TICKET if ticket.unit == "columns" else ELEMENT_MASK))


def _setting(optimizer: DictConfig, name: str) -> Any:
    return optimizer[name] if name in optimizer else getattr(DominantTicketConfig(), name)
