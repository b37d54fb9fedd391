"""Columns: the ranked input columns of one matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import DwtError

#: Columns kept in a ticket's ranking, so that k is chosen when the ticket is used.
RANKED_COLUMNS = 32

#: No model has more features; a file that claims more is refused before anything is allocated.
_LARGEST = 2**20


@dataclass(frozen=True)
class Columns:
    """The ranked columns of one matrix.

    Attributes:
        shape: (out_features, in_features) of W.
        columns: dimensions in [0, in_features], most dominated first.
        counts: out-weighted parameters of each, or None where the ticket was not counted.
    """

    shape: tuple[int, int]
    columns: tuple[int, ...]
    counts: tuple[int, ...] | None = None


def check_columns(name: str, entry: Columns) -> None:
    """Refuse columns that matrix ``name`` cannot have (DwtError)."""
    rows, width = entry.shape
    if not (1 <= rows <= _LARGEST and 1 <= width <= _LARGEST):
        raise DwtError(
            f"matrix {name}: expected a shape of sizes from 1 to {_LARGEST:,}, got {entry.shape}"
        )
    for column in entry.columns:
        if not 0 <= column <= width:
            raise DwtError(
                f"matrix {name}: expected columns from 0 to {width} (the bias), got {column}"
            )
    if len(set(entry.columns)) != len(entry.columns):
        raise DwtError(f"matrix {name}: expected distinct columns, got {list(entry.columns)}")
    if entry.counts is not None:
        if len(entry.counts) != len(entry.columns):
            raise DwtError(
                f"matrix {name}: expected one count per column, got {len(entry.counts)} counts "
                f"for {len(entry.columns)} columns"
            )
        if any(not 1 <= count <= rows for count in entry.counts):
            raise DwtError(f"matrix {name}: expected counts from 1 to {rows}, got another")
        if list(entry.counts) != sorted(entry.counts, reverse=True):
            raise DwtError(f"matrix {name}: expected counts in descending order")


def ranking(scores: Tensor, limit: int = RANKED_COLUMNS) -> list[int]:
    """Dimensions by score, descending; ties go to the lower index; none without a score.

    Args:
        scores: of each dimension, (in_features + 1,), 0 or more.
        limit: dimensions kept.

    >>> ranking(torch.tensor([0, 5, 2, 5]))
    [1, 3, 2]
    """
    order = torch.argsort(scores, descending=True, stable=True)[:limit]
    return [int(c) for c in order if scores[c] > 0]
