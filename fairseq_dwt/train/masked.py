"""Training inside a ticket with dense tensors: the readable reference.

Gradients outside the ticket are set to zero as they arise, so that norm, clipping and the
optimizer's moments see the ticket alone; after each step the entries outside are put back, so that
neither weight decay nor momentum can move them. Costs dense gradients, dense optimizer states and,
during a step, a copy of each matrix.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from ..model.anatomy import Anatomy, anatomy_of, parameter_shapes
from ..ticket import AnyTicket
from ..ticket.part import Part
from .marks import Mark, mark_trained


def trained_parts(
    model: nn.Module, ticket: AnyTicket, anatomy: Anatomy | None = None
) -> dict[str, Part]:
    """The parameters of ``model`` that train inside ``ticket``, the head's among them: by name."""
    shapes, anatomy = parameter_shapes(model), anatomy or anatomy_of(model)
    parts = {name: Part(tuple(shapes[name])) for name in shapes if name in anatomy.head}
    for layer, matrix in anatomy.layers.items():
        for name, part in ticket.parts([matrix]).items():
            parts[f"{layer}.{name.rpartition('.')[2]}"] = part
    return parts


def freeze_outside(model: nn.Module, ticket: AnyTicket, anatomy: Anatomy | None = None) -> int:
    """Leave only the ticket and the head of ``model`` trainable.

    Parameters without a trained entry stop requiring gradients: no optimizer state, no fp32 copy,
    no all-reduce for them. The others get a hook that zeroes the gradient outside the ticket, and
    a :class:`~fairseq_dwt.train.marks.Mark` for the optimizer.

    Args:
        model: with its head, before any wrapper.
        ticket: fits the model (:meth:`Ticket.check_fits`).
        anatomy: of the model; by default a RoBERTa's.

    Returns:
        the number of the ticket's trained parameters, the head not counted.
    """
    anatomy = anatomy or anatomy_of(model)
    parts = trained_parts(model, ticket, anatomy)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in parts)
        if name in parts:
            mark = mark_trained(parameter, parts[name])
            if not mark.part.is_whole:
                _mask_gradient(parameter, mark)
    return sum(part.size for name, part in parts.items() if name not in anatomy.head)


def _mask_gradient(parameter: nn.Parameter, mark: Mark) -> None:
    def hook(grad: Tensor) -> Tensor:
        # Picked, not multiplied by a mask: 0 · inf of an fp16 overflow would be nan.
        part, inside = mark.on(grad.device), torch.zeros_like(grad)
        part.write(inside, part.read(grad))
        return inside

    parameter.register_hook(hook)


@contextlib.contextmanager
def frozen_entries_kept(parameters: Iterable[Tensor], marks: Iterable[Mark]) -> Iterator[None]:
    """Whatever the optimizer does inside, entries outside the ticket keep their bits."""
    before = [
        (parameter, mark.on(parameter.device), parameter.detach().clone())
        for parameter, mark in zip(parameters, marks)
        if not mark.part.is_whole
    ]
    yield
    with torch.no_grad():
        for parameter, part, whole in before:
            part.write(whole, part.read(parameter))
            parameter.copy_(whole)
