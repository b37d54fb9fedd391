"""Training inside a ticket with dense tensors: the readable reference.

Gradients outside the ticket are set to zero as they arise, so that norm, clipping and the
optimizer's moments see the ticket alone; after each step the entries outside are put back, so that
neither weight decay nor momentum can move them. Costs dense gradients, dense optimizer states and,
during a step, a copy of each matrix.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import torch
from torch import Tensor, nn

from ..model.names import is_head, ticket_layers
from ..ticket.element_mask import AnyTicket

__all__ = [
    "TrainedEntries",
    "freeze_outside",
    "frozen_entries_kept",
    "mark_trained",
    "model_shapes",
    "trained_masks",
]


class TrainedEntries:
    """Which entries of a parameter are trained: bool, broadcastable over it; None for all.

    Travels from the model to the optimizer as ``parameter.param_group``.
    """

    def __init__(self, mask: Optional[Tensor] = None, parameter: Optional[nn.Parameter] = None):
        self.mask = mask
        self._parameter = None if parameter is None else weakref.ref(parameter)

    def marks(self, parameter: Tensor) -> bool:
        """Whether ``parameter`` is the very one of the model, no fp32 copy of it."""
        return self._parameter is not None and self._parameter() is parameter

    def __deepcopy__(self, memo: Any) -> TrainedEntries:
        return TrainedEntries(self.mask)

    def on(self, device: torch.device) -> Optional[Tensor]:
        """The mask on ``device``; moved once."""
        if self.mask is not None and self.mask.device != device:
            self.mask = self.mask.to(device)
        return self.mask


def trained_masks(model: nn.Module, ticket: AnyTicket) -> Dict[str, Optional[Tensor]]:
    """The parameters of ``model`` that are trained inside ``ticket``: ``{name: mask}``.

    A mask broadcasts over its parameter; None stands for all of it (the classification heads).
    """
    shapes = model_shapes(model)
    masks: Dict[str, Optional[Tensor]] = {name: None for name in shapes if is_head(name)}
    for layer, matrix in ticket_layers(shapes).items():
        entries = ticket.entries(matrix)
        for name, mask in (("weight", entries.weight), ("bias", entries.bias)):
            if mask is not None:
                masks[f"{layer}.{name}"] = mask
    return masks


def model_shapes(model: nn.Module) -> Dict[str, torch.Size]:
    """The parameters of ``model`` as ``{name: shape}``."""
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def freeze_outside(model: nn.Module, ticket: AnyTicket) -> int:
    """Leave only the ticket and the classification heads of ``model`` trainable.

    Parameters without a trained entry stop requiring gradients: no optimizer state, no fp32 copy,
    no all-reduce for them. The others get a hook that zeroes the gradient outside the ticket, and
    :class:`TrainedEntries` for the optimizer.

    Args:
        model: a RoBERTa with its heads, before any wrapper.
        ticket: fits the model (:meth:`Ticket.check_fits`).

    Returns:
        the number of the ticket's trained parameters, the head not counted.
    """
    masks = trained_masks(model, ticket)
    trained = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in masks)
        if name in masks:
            mask = masks[name]
            inside = mark_trained(parameter, mask)
            if mask is not None:
                trained += int(mask.expand(parameter.shape).sum())
                _mask_gradient(parameter, inside)
    return trained


def mark_trained(parameter: nn.Parameter, mask: Optional[Tensor] = None) -> TrainedEntries:
    """Tell the optimizer which entries of ``parameter`` are trained."""
    # fairseq's fp32 copies keep few attributes of a parameter; param_group is the one that both
    # fairseqs copy, and it is meant for this: what the optimizer must know of the parameter.
    parameter.param_group = TrainedEntries(mask, parameter)  # type: ignore[attr-defined]
    return parameter.param_group  # type: ignore[attr-defined, no-any-return]


def _mask_gradient(parameter: nn.Parameter, entries: TrainedEntries) -> None:
    def hook(grad: Tensor) -> Tensor:
        # A mask, not a product: 0 · inf of an fp16 overflow would be nan.
        mask = entries.on(grad.device)
        return grad if mask is None else grad.masked_fill(~mask, 0)

    parameter.register_hook(hook)


@contextlib.contextmanager
def frozen_entries_kept(
    parameters: Iterable[Tensor], entries: Iterable[TrainedEntries]
) -> Iterator[None]:
    """Whatever the optimizer does inside, entries outside the ticket keep their bits."""
    before: List[Tuple[Tensor, Tensor, Tensor]] = []
    for parameter, inside in zip(parameters, entries):
        mask = inside.on(parameter.device)
        if mask is not None:
            before.append((parameter, mask, parameter.detach().clone()))
    yield
    with torch.no_grad():
        for parameter, mask, old in before:
            parameter.copy_(torch.where(mask, parameter, old))
