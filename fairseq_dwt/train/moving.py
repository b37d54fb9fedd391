"""A moving slice: every N updates compact training goes on in other columns of each matrix.

What SliceFine does (random columns, moved as training goes on), as a baseline of a fixed ticket:
the columns that are left keep what they have learned, in W; those that are taken up begin with
moments of zero. All draws have the same shapes, so that optimizer, copies and states stay in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..errors import DwtError
from ..model.names import Matrix
from ..ticket import AnyTicket, Ticket
from .compact import ColumnLinear
from .halves import forget


class MovingSlice:
    """The columns that a compact model trains, a function of the number of updates.

    Args:
        model: of :func:`~fairseq_dwt.train.compact.make_compact`, inside ``draw(0)``.
        layers: its ticket matrices, ``{module name: matrix}``.
        draw: ``draw(n)`` is the ticket after the n-th move; all are of the same shapes.
        every: updates between two moves.

    Raises:
        DwtError: ``every`` is not positive, or the model is not compact.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, Matrix],
        draw: Callable[[int], Ticket],
        every: int,
    ):
        if not every > 0:
            raise DwtError(f"move_every: expected a number of updates, 1 or more, got {every}")
        modules = dict(model.named_modules())
        self._layers = {m.name: modules[name] for name, m in layers.items()}
        if not all(isinstance(layer, ColumnLinear) for layer in self._layers.values()):
            raise DwtError("move_every: only compact training moves; set mode to compact")
        self._draw, self._every, self._number = draw, every, 0

    def settle(self, updates: int) -> None:
        """Train the columns of this number of updates, as after a checkpoint was loaded."""
        self._go_to(updates // self._every)

    def move(self, updates: int, optimizer: Any) -> None:
        """To be called after each update, when W is current.

        Args:
            updates: that were made.
            optimizer: fairseq's, whose moments and fp32 copies of the columns begin anew.
        """
        if updates // self._every != self._number:
            self.settle(updates)
            forget(optimizer, [layer.columns for layer in self._layers.values()])

    def trained(self) -> AnyTicket:
        """All columns that were trained so far: what ``verify`` and ``export`` must allow."""
        union = first = self._draw(0)
        for number in range(1, self._number + 1):
            union = union.union(self._draw(number))
        return Ticket(union.matrices, first.origin, ranked=False)

    def _go_to(self, number: int) -> None:
        self._number, ticket = number, self._draw(number)
        with torch.no_grad():
            for name, layer in self._layers.items():
                index = torch.tensor(sorted(ticket.matrices[name].columns))
                layer.index.copy_(index)
                layer.columns.copy_(layer.weight.index_select(1, layer.index))
