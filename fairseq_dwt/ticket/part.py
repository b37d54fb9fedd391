"""Part: which entries of one parameter train. The one answer that all of training asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Part:
    """The trained entries of one parameter: all of it, whole columns, or single entries.

    Attributes:
        shape: of the parameter.
        columns: int64 (k,), ascending, where whole columns of W are trained; else None.
        entries: int64 (n,), row-major, where single entries are; else None. Both None: all of it.
    """

    shape: tuple[int, ...]
    columns: Tensor | None = None
    entries: Tensor | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the parameter trains entirely."""
        return self.columns is None and self.entries is None

    @property
    def values_shape(self) -> tuple[int, ...]:
        """Shape of this part's values: (out_features, k), (n,), or the parameter's."""
        if self.columns is not None:
            return self.shape[0], len(self.columns)
        return self.shape if self.entries is None else (len(self.entries),)

    @property
    def size(self) -> int:
        """How many entries train."""
        return prod(self.values_shape)

    def to(self, device: torch.device) -> Part:
        """The same with its indices on ``device``."""
        columns, entries = self.columns, self.entries
        return replace(
            self,
            columns=None if columns is None else columns.to(device),
            entries=None if entries is None else entries.to(device),
        )

    def mask(self, device: torch.device | None = None) -> Tensor:
        """True at these entries: bool, (1, in_features) for columns, else the parameter's shape."""
        if self.columns is not None:
            mask = torch.zeros(1, self.shape[1], dtype=torch.bool)
            mask[0, self.columns] = True
        else:
            mask = torch.zeros(self.shape, dtype=torch.bool)
            self.write(mask, torch.ones(self.values_shape, dtype=torch.bool))
        return mask.to(device)

    def read(self, parameter: Tensor) -> Tensor:
        """A copy of these entries of ``parameter``."""
        if self.columns is not None:
            return parameter.index_select(1, self.columns.to(parameter.device))
        if self.entries is not None:
            return parameter.reshape(-1).index_select(0, self.entries.to(parameter.device))
        return parameter.clone()

    def write(self, parameter: Tensor, values: Tensor) -> None:
        """Set these entries of ``parameter`` (contiguous), in its dtype and on its device."""
        values = values.to(parameter.device, parameter.dtype)
        if self.columns is not None:
            parameter.index_copy_(1, _index(self.columns, parameter), values)
        elif self.entries is not None:
            parameter.view(-1).index_copy_(0, _index(self.entries, parameter), values)
        else:
            parameter.copy_(values)

    def overlap(self, other: Part) -> int:
        """How many columns (or entries) of the same parameter both claim."""
        if self.columns is not None and other.columns is not None:
            return int(torch.isin(self.columns, other.columns).sum())
        return int((self.mask() & other.mask()).sum())


def _index(index: Tensor, parameter: Tensor) -> Tensor:
    # an index may be kept in four bytes, which torch reads but does not write by
    return index.to(parameter.device, torch.int64)
