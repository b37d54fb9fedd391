"""Optimizer ``dominant_ticket``: any optimizer, inside a ticket."""

# no postponed annotations here: fairseq reads the types of the config fields

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.optim import FairseqOptimizer, _build_optimizer, register_optimizer
from omegaconf import II

from ..errors import DwtError
from ..find.methods import WORDS
from ..run.wrapped import wrapped_config
from ..train.marks import mark_of
from ..train.masked import frozen_entries_kept
from ..train.states import Layout, from_file, to_file


@dataclass
class DominantTicketConfig(FairseqDataclass):
    ticket: Optional[str] = field(
        default=None,
        metadata={
            "help": "ticket to train inside of: a file, a published one's name, or one of "
            + ", ".join(WORDS)
        },
    )
    k: Optional[int] = field(
        default=1, metadata={"help": "columns per matrix, at most; null takes all of the ticket's"}
    )
    like: Optional[str] = field(
        default=None,
        metadata={"help": "random: a ticket whose number of columns each matrix gets"},
    )
    percent: Optional[float] = field(
        default=None,
        metadata={"help": "random: per cent of each matrix's elements, instead of k columns"},
    )
    ticket_seed: Optional[int] = field(
        default=None, metadata={"help": "random, slice: seed of what is drawn [common.seed]"}
    )
    move_every: Optional[int] = field(
        default=None, metadata={"help": "slice: updates after which other columns are drawn"}
    )
    mode: ChoiceEnum(["compact", "masked"]) = field(  # type: ignore[valid-type]
        default="compact",
        metadata={
            "help": "compact: gradients, states and saved inputs of the ticket's columns alone; "
            "masked: dense ones, multiplied by the mask (the readable reference)"
        },
    )
    trained_entries: Optional[int] = field(
        default=None, metadata={"help": "entries that train; set by the task ticket_finetune"}
    )
    wrapped_optimizer: Any = field(
        default=None, metadata={"help": "optimizer that does the steps, with its _name [adam]"}
    )
    lr: List[float] = II("optimization.lr")


@register_optimizer("dominant_ticket", dataclass=DominantTicketConfig)
class DominantTicket(FairseqOptimizer):
    """Steps of the wrapped optimizer, of which only the ticket's entries and the head remain.

    The task ``ticket_finetune`` decides what trains, before fairseq wraps the model. In compact
    mode the parameters are the ticket's columns and nothing outside them can move; in masked mode
    they are whole matrices, each with its :class:`~fairseq_dwt.train.marks.Mark`.

    State dicts hold the moments of the trained entries alone, in both modes alike
    (:mod:`~fairseq_dwt.train.states`), and under fp16 and bf16 the fp32 copies too, so that a run
    goes on exactly where it was interrupted.

    Raises:
        DwtError: other entries are to be optimized than the task lets train: another task built
            the model.
    """

    def __init__(self, cfg: DominantTicketConfig, params: Any):
        super().__init__(cfg)
        params = list(params)
        self._marks = [mark_of(parameter) for parameter in params]
        self.layout = Layout([mark.part for mark in self._marks])
        if sum(self.layout.sizes) != cfg.trained_entries:
            raise DwtError(
                "optimizer dominant_ticket: expected a model that was cut down to its ticket, got "
                "one with other trainable parameters; use task._name=ticket_finetune"
            )
        # fp16 and bf16 training optimizes fp32 copies, of which the file of the model knows nothing
        self._copies = not all(m.is_of(p) for m, p in zip(self._marks, params))
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
        """In compact mode, as the wrapped optimizer; a flattened matrix has lost its mask."""
        return self.cfg.mode == "compact" and self.wrapped.supports_flat_params

    def step(self, closure: Any = None, scale: float = 1.0, groups: Any = None) -> None:
        """One step of the wrapped optimizer inside the ticket."""
        with frozen_entries_kept(self.params, self._marks):
            self.wrapped.step(closure, scale=scale, groups=groups)

    def state_dict(self) -> Dict[str, Any]:
        """The wrapped optimizer's state of the trained entries, and fp32 copies of them."""
        state = to_file(self.wrapped.state_dict(), self.layout)
        if self._copies:
            copies = [self.layout.gather(i, p.detach()) for i, p in enumerate(self.params)]
            state["fp32_copies"] = torch.cat([c.cpu() for c in copies])
        return state

    def load_state_dict(
        self, state_dict: Dict[str, Any], optimizer_overrides: Optional[Dict[str, Any]] = None
    ) -> None:
        """Resume, in whichever mode the state was saved.

        Raises:
            DwtError: the state is of other entries than those that train.
        """
        state = from_file(state_dict, self.layout, self.wrapped.optimizer.state_dict())
        self.wrapped.load_state_dict(state, optimizer_overrides)
        copies = state_dict.get("fp32_copies")
        if self._copies and copies is not None:
            with torch.no_grad():
                for i, entries in enumerate(copies.split(self.layout.sizes)):
                    self.layout.scatter(i, entries, list(self.params)[i])

    def average_params(self) -> None:
        """As the wrapped optimizer."""
        self.wrapped.average_params()
