"""Training inside a ticket with dense tensors: the readable reference.

Gradients outside the ticket are set to zero as they arise, so that norm, clipping and the
optimizer's moments see the ticket alone; after each step the entries outside are put back, so that
neither weight decay nor momentum can move them. Costs dense gradients, dense optimizer states and,
during a step, a copy of each matrix.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from .element_mask import ElementMask
from .matrices import canonical_name, is_head, ticket_matrices
from .ticket import Ticket

__all__ = ["Trained", "TrainedEntries", "freeze_outside", "frozen_entries_kept"]

AnyTicket = Union[Ticket, ElementMask]


class TrainedEntries:
    """Which entries of a parameter are trained: bool, broadcastable over it."""

    def __init__(self, mask: Tensor):
        self.mask = mask

    def on(self, device: torch.device) -> Tensor:
        """The mask on ``device``; moved once."""
        if self.mask.device != device:
            self.mask = self.mask.to(device)
        return self.mask


@dataclass(frozen=True)
class Trained:
    """What trains: numbers of parameters in the ticket, in the head, and in the whole model."""

    ticket: int
    head: int
    model: int


def freeze_outside(model: nn.Module, ticket: AnyTicket) -> Trained:
    """Leave only the ticket and the classification heads of ``model`` trainable.

    Parameters without a trained entry stop requiring gradients: no optimizer state, no fp32 copy,
    no all-reduce for them. The others get a hook that zeroes the gradient outside the ticket, and
    :class:`TrainedEntries` for the optimizer.

    Args:
        model: a RoBERTa with its heads, before any wrapper.
        ticket: fits the model (:meth:`Ticket.check_fits`).
    """
    parameters = dict(model.named_parameters())
    named = {canonical_name(name): name for name in parameters}
    masks: Dict[str, Optional[Tensor]] = {}
    matrices = ticket_matrices({c: parameters[n].shape for c, n in named.items() if c is not None})
    for matrix in matrices:
        entries = ticket.entries(matrix)
        masks[named[matrix.weight]], masks[named[matrix.bias]] = entries.weight, entries.bias
    trained = head = 0
    for name, parameter in parameters.items():
        if is_head(name):
            head += parameter.numel()
            continue
        mask = masks.get(name)
        parameter.requires_grad_(mask is not None)
        if mask is None:
            continue
        mask = mask.clone()
        trained += int(mask.expand(parameter.shape).sum())
        _train_entries(parameter, mask)
    return Trained(trained, head, sum(p.numel() for p in parameters.values()))


def _train_entries(parameter: nn.Parameter, mask: Tensor) -> None:
    entries = TrainedEntries(mask)
    # fairseq's fp32 copies keep few attributes of a parameter; param_group is the one that both
    # fairseqs copy, and it is meant for this: what the optimizer must know of the parameter.
    parameter.param_group = entries  # type: ignore[attr-defined]
    # A mask, not a product: 0 · inf of an fp16 overflow would be nan.
    parameter.register_hook(lambda grad: grad.masked_fill(~entries.on(grad.device), 0))


@contextlib.contextmanager
def frozen_entries_kept(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Whatever the optimizer does inside, entries outside the ticket keep their bits."""
    before: List[Tuple[nn.Parameter, Tensor, Tensor]] = []
    for parameter in parameters:
        entries = getattr(parameter, "param_group", None)
        if isinstance(entries, TrainedEntries):
            mask = entries.on(parameter.device)
            before.append((parameter, mask, parameter.detach().clone()))
    yield
    with torch.no_grad():
        for parameter, mask, old in before:
            parameter.copy_(torch.where(mask, parameter, old))
