"""Ticket: for each weight matrix, the input columns to train, ranked. The one domain object.

Contract
    A ticket maps matrix names (``layers.0.self_attn.q_proj``) to :class:`Columns`: the shape
    (out_features, in_features) of W and a ranking of dimensions, most dominated first. Dimension
    ``in_features`` is the bias. A matrix may be absent: nothing of it is trained.
    ``ticket.top(k)`` keeps the first k of each ("at most k", Algorithm 1). Tickets do not change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import (
    ClassVar,
)

import torch

from ..errors import DwtError
from ..files import replacing
from ..model.names import Matrix
from .columns import Columns, check_columns
from .file import from_text, to_text
from .origin import Origin, check_base, check_shapes
from .part import Part


@dataclass(frozen=True)
class Ticket:
    """A (dominant winning) ticket. See the contract at the top of this file.

    >>> q = Columns(shape=(4, 3), columns=(2, 3, 0), counts=(4, 2, 1))
    >>> ticket = Ticket({"layers.0.self_attn.q_proj": q}, Origin("dominant"))
    >>> ticket.top(2).num_parameters  # one column of W and the bias, four rows each
    8

    Raises:
        DwtError: a column is out of range or named twice, or columns and counts do not match.
    """

    #: What is chosen from, and how its files end.
    unit: ClassVar[str] = "columns"
    extension: ClassVar[str] = ".json"

    matrices: Mapping[str, Columns]
    origin: Origin = field(default_factory=lambda: Origin("unknown"))
    #: Whether the order of the columns is a ranking. The sets of the paper's appendix are not.
    ranked: bool = True
    #: Matrices of which nothing is known, unlike those that are known to have no column.
    unknown: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, entry in self.matrices.items():
            check_columns(name, entry)
        both = sorted(self.unknown & set(self.matrices))
        if both:
            raise DwtError(f"matrix {both[0]}: expected columns or unknown, got both")

    @property
    def num_parameters(self) -> int:
        """Parameters of the ticket's columns (a bias counts as one column)."""
        return sum(e.shape[0] * len(e.columns) for e in self.matrices.values())

    @property
    def sparsity(self) -> float | None:
        """Trained ticket parameters / all pre-trained parameters, in [0, 1]; None if unknown."""
        total = self.origin.base_parameters
        return None if not total else self.num_parameters / total

    def top(self, k: int | None) -> Ticket:
        """The ticket of the k most dominated columns of each matrix; None keeps all.

        Raises:
            DwtError: k is negative, or would choose from columns that are not ranked.
        """
        if k is None:
            return self
        if k < 0:
            raise DwtError(f"k: expected a number of columns, 0 or more, got {k}")
        largest = self.k
        if k < largest and k > 0 and not self.ranked:
            raise DwtError(
                f"k: expected {largest} or more, got {k}: the columns of this ticket "
                f"({self.origin.made_by or self.origin.method}) are a set without a ranking; "
                "take a ranked one to choose from"
            )
        cut = {
            name: replace(
                e, columns=e.columns[:k], counts=None if e.counts is None else e.counts[:k]
            )
            for name, e in self.matrices.items()
        }
        return replace(self, matrices={n: e for n, e in cut.items() if e.columns})

    def union(self, other: Ticket) -> Ticket:
        """The columns of both: this ticket's ranking, then what the other adds in its order.

        Raises:
            DwtError: the tickets are of different models (also of the two below).
        """
        return self._combined("union", other, lambda a, b: a + [c for c in b if c not in a])

    def intersection(self, other: Ticket) -> Ticket:
        """The columns that both have, in this ticket's order."""
        return self._combined("intersection", other, lambda a, b: [c for c in a if c in b])

    def difference(self, other: Ticket) -> Ticket:
        """The columns that only this ticket has, in its order; unknown where the other is."""
        known = {n: e for n, e in self.matrices.items() if n not in other.unknown}
        return replace(self, matrices=known)._combined(
            "difference", other, lambda a, b: [c for c in a if c not in b]
        )

    def _combined(
        self, method: str, other: Ticket, choose: Callable[[list[int], list[int]], list[int]]
    ) -> Ticket:
        check_base(self.origin.base, other.origin.base, self.origin.init, method)
        matrices = {}
        for name in {**self.matrices, **other.matrices}:
            entry = self.matrices.get(name, other.matrices.get(name))
            assert entry is not None
            if name in other.matrices and other.matrices[name].shape != entry.shape:
                raise DwtError(
                    f"{method}: matrix {name}: expected shape {entry.shape} in both tickets, got "
                    f"{other.matrices[name].shape}; they were made for different models"
                )
            a, b = (
                list(t.matrices[name].columns) if name in t.matrices else [] for t in (self, other)
            )
            columns = choose(a, b)
            if columns:
                matrices[name] = Columns(entry.shape, tuple(columns))
        base = self.origin.base or other.origin.base
        size = self.origin.base_parameters or other.origin.base_parameters
        return Ticket(
            matrices,
            Origin(method, base, size, self.origin.init or other.origin.init),
            ranked=self.ranked and other.ranked,
            unknown=(self.unknown | other.unknown) - set(matrices),
        )

    @property
    def k(self) -> int:
        """The most columns that a matrix has."""
        return max((len(entry.columns) for entry in self.matrices.values()), default=0)

    @property
    def amount(self) -> str:
        """How much of each matrix trains, in tables: k."""
        return str(self.k)

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """``{matrix name: (out_features, in_features)}`` of the matrices that it trains in."""
        return {name: entry.shape for name, entry in self.matrices.items()}

    def parts(self, matrices: Sequence[Matrix]) -> dict[str, Part]:
        """The parameters of ``matrices`` that train: ``{canonical name: their part}``."""
        parts = {}
        for matrix in matrices:
            entry = self.matrices.get(matrix.name)
            columns = sorted(c for c in entry.columns if c < matrix.in_features) if entry else []
            if columns:
                parts[matrix.weight] = Part(matrix.shape, columns=torch.tensor(columns))
            if entry and matrix.in_features in entry.columns:
                parts[matrix.bias] = Part((matrix.out_features,))
        return parts

    def as_columns(self, where: str) -> Ticket:
        """Itself; an element mask raises a DwtError that begins with ``where``."""
        return self

    def digest(self) -> str:
        """SHA-256 of what is trained: two tickets with equal digests train the same parameters."""
        trained = {n: (e.shape, sorted(e.columns)) for n, e in self.matrices.items()}
        return hashlib.sha256(json.dumps(trained, sort_keys=True).encode()).hexdigest()

    def check_fits(self, matrices: Sequence[Matrix], base: str | None, where: str) -> None:
        """Refuse a model that this ticket was not made for.

        Args:
            matrices: the model's ticket matrices.
            base: the model's fingerprint; not compared where either side does not know it.
            where: the ticket's file or name, for the sentence.

        Raises:
            DwtError: a matrix is unknown or has another shape, or the fingerprints differ.
        """
        check_shapes(self.shapes, matrices, where)
        check_base(self.origin.base, base, self.origin.init, where)

    def packed(self) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
        """The ticket as a part of another file: safetensors' metadata and tensors."""
        return {"ticket": json.dumps(json.loads(self.dumps()), separators=(",", ":"))}, {}

    # -- file ---------------------------------------------------------------------------------

    def save(self, path: str) -> None:
        """Write the ticket as JSON, one matrix a line, whole or not at all."""
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(self.dumps())

    def dumps(self) -> str:
        """The ticket as JSON text."""
        return to_text(self)

    @classmethod
    def load(cls, path: str) -> Ticket:
        """Read a ticket file.

        Raises:
            DwtError: no such file, not a ticket, a newer format, or inconsistent content.
        """
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise DwtError(f"{path}: expected a ticket file, cannot read it: {reason}") from None
        return cls.loads(text, path)

    @classmethod
    def loads(cls, text: str, where: str = "ticket") -> Ticket:
        """Read a ticket from JSON text; ``where`` names it in errors."""
        read = from_text(text, where)
        try:
            return cls(*read)
        except DwtError as error:
            raise DwtError(f"{where}: {error}") from None
