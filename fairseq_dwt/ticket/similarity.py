"""How alike two tickets are: the Jaccard similarity of their columns (equation 4).

    J(A, B) = |A ∩ B| / |A ∪ B|

The paper does not say over what it averages. Its figure across tasks is met by the mean over
matrices of the per-matrix similarity, which is called :attr:`Similarity.per_matrix` here;
:attr:`Similarity.pooled` is the similarity of the sets of all (matrix, column) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean
from typing import Any

from ..errors import DwtError
from ..model.names import ALL_KINDS, kind_of
from .origin import check_base
from .ticket import Ticket


@dataclass(frozen=True)
class Similarity:
    """The similarity of two tickets; every value in [0, 1].

    Attributes:
        matrices: ``{matrix name: Jaccard}``, where at least one of the two has a column and both
            know what they have.
        pooled: Jaccard of the sets of all (matrix, column) pairs.
        chance: the expected :attr:`per_matrix` of two tickets with as many columns in each matrix,
            drawn uniformly.
        pooled_chance: the same for :attr:`pooled`, at the expected overlap.
    """

    matrices: dict[str, float]
    pooled: float
    chance: float
    pooled_chance: float

    @property
    def per_matrix(self) -> float:
        """The mean over matrices: the paper's figure."""
        return mean(self.matrices.values())

    @property
    def by_kind(self) -> dict[str, float]:
        """The mean over the matrices of each kind; kinds without a matrix are left out."""
        groups: dict[str, list[float]] = {kind: [] for kind in ALL_KINDS}
        for name, value in self.matrices.items():
            groups[kind_of(name)].append(value)
        return {kind: mean(values) for kind, values in groups.items() if values}

    def summary(self) -> dict[str, Any]:
        """All figures by name, for JSON."""
        return {
            "per_matrix": self.per_matrix,
            "pooled": self.pooled,
            "chance": self.chance,
            "pooled_chance": self.pooled_chance,
            "by_kind": self.by_kind,
            "matrices": self.matrices,
        }


def similarity(a: Ticket, b: Ticket) -> Similarity:
    """Compare all columns of two tickets of one model; cut them to k first with ``top``.

    >>> from fairseq_dwt.ticket import Columns
    >>> q, k = "layers.0.self_attn.q_proj", "layers.0.self_attn.k_proj"
    >>> a = Ticket({q: Columns((4, 9), (0, 1)), k: Columns((4, 9), (7,))})
    >>> b = Ticket({q: Columns((4, 9), (1, 2)), k: Columns((4, 9), (7,))})
    >>> found = similarity(a, b)
    >>> found.matrices[q], found.matrices[k], found.per_matrix, found.pooled
    (0.3333333333333333, 1.0, 0.6666666666666666, 0.5)

    Raises:
        DwtError: the tickets are of different models, or have no column to compare.
    """
    check_base(a.origin.base, b.origin.base, a.origin.init, "similarity")
    unknown = a.unknown | b.unknown
    matrices: dict[str, float] = {}
    expected: list[float] = []
    shared, total, shared_by_chance = 0, 0, 0.0
    for name in dict.fromkeys([*a.matrices, *b.matrices]):
        if name in unknown:
            continue
        first, second, width = _columns(a, b, name)
        overlap = len(first & second)
        matrices[name] = overlap / len(first | second)
        expected.append(_chance(len(first), len(second), width))
        shared, total = shared + overlap, total + len(first) + len(second)
        shared_by_chance += len(first) * len(second) / width
    if not matrices:
        raise DwtError(
            "similarity: expected tickets with columns in a matrix that both know, got none"
        )
    return Similarity(
        matrices,
        pooled=shared / (total - shared),
        chance=mean(expected),
        pooled_chance=shared_by_chance / (total - shared_by_chance),
    )


def _columns(a: Ticket, b: Ticket, name: str) -> tuple[frozenset[int], frozenset[int], int]:
    entries = [ticket.matrices.get(name) for ticket in (a, b)]
    shapes = {entry.shape for entry in entries if entry is not None}
    if len(shapes) > 1:
        one, other = sorted(shapes)
        raise DwtError(
            f"similarity: matrix {name}: expected one shape in both tickets, got {one} and "
            f"{other}; they were made for different models"
        )
    first, second = (frozenset(e.columns if e is not None else ()) for e in entries)
    return first, second, shapes.pop()[1] + 1  # the bias is a column


def _chance(a: int, b: int, width: int) -> float:
    """E[J] of uniform sets of sizes a and b out of ``width``: the overlap is hypergeometric."""
    from scipy.stats import hypergeom

    a, b = sorted((a, b))  # the same to the last digit whichever comes first
    overlap = hypergeom(width, a, b)
    return float(sum(overlap.pmf(h) * h / (a + b - h) for h in range(min(a, b) + 1)))
