"""A moving slice: every N updates compact training goes on in other columns of each matrix.

What SliceFine does (random columns, moved as training goes on), as a baseline of a fixed ticket:
the columns that are left keep what they have learned, in W; for those that are taken up the
optimizer begins anew. All draws have the same shapes, so that its parameters stay in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..errors import DwtError
from ..model.names import Matrix
from ..ticket import Columns, Ticket
from .compact import ColumnLinear
from .halves import forget


class MovingSlice:
    """The columns that a compact model trains, a function of the number of updates.

    Args:
        model: of :func:`~fairseq_dwt.train.compact.make_compact`, inside ``draw(0)``.
        layers: its ticket matrices, ``{module name: matrix}``.
        draw: ``draw(n)`` is the ticket after the n-th move; all are of the same shapes.
        every: updates between two moves.
        before: what an earlier launch of the run has trained.

    Raises:
        DwtError: ``every`` is not positive, or the model is not compact.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, Matrix],
        draw: Callable[[int], Ticket],
        every: int,
        before: Ticket | None = None,
    ):
        if not every > 0:
            raise DwtError(f"move_every: expected a number of updates, 1 or more, got {every}")
        modules = dict(model.named_modules())
        self._layers = {m.name: modules[name] for name, m in layers.items()}
        if not all(isinstance(layer, ColumnLinear) for layer in self._layers.values()):
            raise DwtError("move_every: only compact training moves; set mode to compact")
        self._draw, self._every, self._number, self._before = draw, every, 0, before

    def settle(self, updates: int) -> None:
        """Train the columns of this number of updates, as after a checkpoint was loaded."""
        self._number = updates // self._every
        ticket = self._draw(self._number)
        with torch.no_grad():
            for name, layer in self._layers.items():
                layer.index.copy_(torch.tensor(sorted(ticket.matrices[name].columns)))
                layer.columns.copy_(layer.weight.index_select(1, layer.index))

    def move(self, updates: int, optimizer: Any) -> None:
        """To be called after each update, when W is current.

        Args:
            updates: that were made.
            optimizer: fairseq's, which begins anew with the columns.
        """
        if updates // self._every != self._number:
            self.settle(updates)
            forget(optimizer, [layer.columns for layer in self._layers.values()])

    def trained(self) -> Ticket:
        """All columns that were trained so far: what ``verify`` and ``export`` must allow."""
        first = self._draw(0)
        draws = [self._draw(number) for number in range(self._number + 1)]
        draws += [] if self._before is None else [self._before]
        union = {
            name: Columns(
                entry.shape,
                tuple(dict.fromkeys(c for one in draws for c in one.matrices[name].columns)),
            )
            for name, entry in first.matrices.items()
        }
        return Ticket(union, first.origin, ranked=False)
