"""Task ``ticket_extract``: stage 1, L1 fine-tuning that writes its ticket as it goes."""

# no postponed annotations here: fairseq reads the types of the config fields

import os
from dataclasses import dataclass, field
from typing import Any, Dict, Optional

import torch
from fairseq.tasks import register_task

from ..errors import DwtError
from ..find.dominant import SIGMA, check_sigma
from ..glue.suite import task_of_folder
from ..model.anatomy import anatomy_of
from ..run.folder import SIGMA_MASK, TICKET
from ..run.precision import refuse_sharding
from ..run.same_run import check_same_run
from ..run.stages import Finding
from ..ticket.columns import RANKED_COLUMNS
from ._from_pretrained import FromPretrainedConfig, FromPretrainedTask


@dataclass
class TicketExtractConfig(FromPretrainedConfig):
    sigma: float = field(
        default=SIGMA, metadata={"help": "σ: a weight is out-weighted where |θ − θ0| > σ"}
    )
    ranked_columns: int = field(
        default=RANKED_COLUMNS,
        metadata={"help": "columns kept per matrix in the ticket"},
    )
    save_sigma_mask: bool = field(
        default=False, metadata={"help": f"write the mask of equation 2 too, as {SIGMA_MASK}"}
    )


@register_task("ticket_extract", dataclass=TicketExtractConfig)
class TicketExtractTask(FromPretrainedTask):
    """Sentence prediction whose layers are fine-tuned under ``l1_to_init``, embeddings frozen.

    Before every validation, and whenever a checkpoint is saved without one, the ticket of the
    weights as they stand is written beside the checkpoints (Algorithm 1).
    """

    _criterion: Any = None
    _num_updates: Optional[int] = None
    _finding: Finding

    @classmethod
    def setup_task(cls, cfg: TicketExtractConfig, **kwargs: Any) -> "TicketExtractTask":
        """As the base task, and refuse what would hide θ − θ0, or keep no ticket (DwtError)."""
        check_sigma(cfg.sigma, "task.sigma")
        if cfg.ranked_columns < 1:
            raise DwtError(
                f"task.ranked_columns: expected 1 or more, got {cfg.ranked_columns}; leave it at "
                f"{RANKED_COLUMNS}"
            )
        task = super().setup_task(cfg, **kwargs)
        refuse_sharding(task.root)
        return task

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> torch.nn.Module:
        """A RoBERTa of which the transformer layers and the head are trained."""
        check_same_run(self)
        model = super().build_model(cfg)
        self._finding = Finding(
            self.root,
            self.pretrained,
            anatomy_of(model),
            self.pretrained.tensors,
            self.cfg.sigma,
            "criterion.l1_lambda",
            self.cfg.ranked_columns,
            self.cfg.save_sigma_mask,
        )
        self._finding.begin(model)
        return model

    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the criterion and remember it: its λ is recorded in the ticket."""
        self._criterion = super().build_criterion(cfg, *args, **kwargs)
        return self._criterion

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Step, and count the update; fairseq does not come here when fp16 overflows."""
        super().optimizer_step(optimizer, model, update_num)
        self._num_updates = update_num + 1

    def begin_valid_epoch(self, epoch: int, model: Any) -> None:
        """Write the ticket of the weights that are about to be validated."""
        super().begin_valid_epoch(epoch, model)
        self._write_ticket()

    def _ending(self, folder: str) -> str:
        ticket = os.path.join(folder, TICKET)
        return (
            f"wrote {ticket}; next: fairseq-dwt show {ticket}, and train inside it: "
            f"fairseq-hydra-train --config-name ticket_<task> optimizer.ticket={ticket} …"
        )

    def state_dict(self) -> Dict[str, Any]:
        """fairseq saves a checkpoint: a ticket of the same weights goes beside it."""
        self._write_ticket()
        return super().state_dict()

    def _write_ticket(self) -> None:
        known = {"l1_lambda": getattr(self._criterion, "l1_lambda", None)}
        known["task"] = task_of_folder(self.cfg.data)
        self._finding.write_ticket(self.model, self.copies, self._num_updates, **known)
