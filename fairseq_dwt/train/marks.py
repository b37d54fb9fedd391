"""What the optimizer must know of a parameter: which of its entries train."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from ..ticket.part import Part


class Mark:
    """Which entries of a parameter train. Travels to the optimizer as ``parameter.param_group``."""

    def __init__(self, part: Part, parameter: nn.Parameter | None = None):
        self.part = part
        self._parameter = None if parameter is None else weakref.ref(parameter)

    def is_of(self, parameter: Tensor) -> bool:
        """Whether ``parameter`` is the very one of the model, no fp32 copy of it."""
        return self._parameter is not None and self._parameter() is parameter

    def __deepcopy__(self, memo: Any) -> Mark:
        return Mark(self.part)

    def on(self, device: torch.device) -> Part:
        """The part on ``device``; moved once."""
        self.part = self.part.to(device)
        return self.part


def mark_trained(parameter: nn.Parameter, part: Part | None = None) -> Mark:
    """Tell the optimizer that this part of ``parameter`` trains; None stands for all of it."""
    # fairseq's fp32 copies keep few attributes of a parameter; param_group is the one that both
    # fairseqs copy, and it is meant for this: what the optimizer must know of the parameter.
    mark = Mark(part or Part(tuple(parameter.shape)), parameter)
    parameter.param_group = mark  # type: ignore[attr-defined]
    return mark


def mark_of(parameter: Tensor) -> Mark:
    """The mark of a parameter, or of its fp32 copy; without one, all of it trains."""
    mark = getattr(parameter, "param_group", None)
    return mark if isinstance(mark, Mark) else Mark(Part(tuple(parameter.shape)))
