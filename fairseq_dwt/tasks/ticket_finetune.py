"""Task ``ticket_finetune``: stage 2, fine-tuning inside a ticket; without a ticket, of all."""

# no postponed annotations here: fairseq reads the types of the config fields

import os
from dataclasses import dataclass
from typing import Any, Dict, Optional

import torch
from fairseq.tasks import register_task
from omegaconf import DictConfig

from ..errors import DwtError
from ..glue.suite import task_of_folder
from ..model.anatomy import anatomy_of
from ..optim.dominant_ticket import DominantTicketConfig
from ..run.at_theta0 import log_settling
from ..run.first_batches import find_in_batches
from ..run.folder import CHECKPOINT_BEST
from ..run.precision import refuse_sharding
from ..run.same_run import check_same_run
from ..run.stages import keep_slices, keep_ticket, moving_slice, say, ticket_of_run, train_inside
from ..ticket import AnyTicket
from ..train.compact import write_back
from ..train.moving import MovingSlice
from ._from_pretrained import FromPretrainedConfig, FromPretrainedTask


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

    _moving: Optional[MovingSlice] = None

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
        anatomy = anatomy_of(model)
        if not self._has_ticket:
            check_same_run(self)
            shapes = {name: p.numel() for name, p in model.named_parameters()}
            head = sum(shapes[name] for name in anatomy.head)
            say("full fine-tuning", self.pretrained, self.pretrained.num_parameters, head)
            return model
        ticket = self._open_ticket(self.root.optimizer, model)
        self._record(ticket)
        mode = str(_setting(self.root.optimizer, "mode"))
        train_inside(ticket, self.root, self.pretrained, model, anatomy, mode)
        every = _setting(self.root.optimizer, "move_every")
        self._moving = moving_slice(ticket, self.root, self.pretrained, model, anatomy, every)
        return model

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Step, and bring the weights of compact layers up to date."""
        super().optimizer_step(optimizer, model, update_num)
        write_back(model)
        if self._moving is not None:
            self._moving.move(update_num + 1, optimizer)

    def _follow(self, optimizer: Any, criterion: Any, update_num: int) -> None:
        super()._follow(optimizer, criterion, update_num)
        if self._moving is not None:
            self._moving.settle(update_num)

    def state_dict(self) -> Dict[str, Any]:
        """fairseq saves a checkpoint: what a moving slice has trained goes beside it."""
        keep_slices(self.root, self._moving)
        return super().state_dict()

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

    @property
    def _is_compact(self) -> bool:
        return self._has_ticket and str(_setting(self.root.optimizer, "mode")) == "compact"

    def _open_ticket(self, optimizer: DictConfig, model: torch.nn.Module) -> AnyTicket:
        def told(name: str) -> Any:
            return _setting(optimizer, name)

        return ticket_of_run(
            told("ticket"),
            self.root,
            self.pretrained,
            lambda: find_in_batches(
                told("ticket"), self, model, on_settling=log_settling, k=told("k")
            ),
            k=told("k"),
            seed=told("ticket_seed"),
            like=told("like"),
            percent=told("percent"),
        )

    def _record(self, ticket: AnyTicket) -> None:
        check_same_run(self, ticket)
        keep_ticket(self.root, ticket)


def _setting(optimizer: DictConfig, name: str) -> Any:
    return optimizer[name] if name in optimizer else getattr(DominantTicketConfig(), name)
