"""The structure of tickets as text: the paper's Table 1, and how alike tickets are."""

from __future__ import annotations

from statistics import mean
from typing import List, Mapping, Optional, Tuple

from ..element_mask import AnyTicket
from ..matrices import KIND_OF_MODULE, KINDS
from ..similarity import Similarity
from ..ticket import Ticket

__all__ = ["describe", "similarity_table", "structure_table"]


def structure_table(ticket: Ticket, k: int = 3) -> str:
    """The k most dominated dimensions of each matrix, one layer a line, the bias as ``b``.

    >>> from fairseq_dwt.ticket import Columns, Origin
    >>> q = Columns(shape=(4, 3), columns=(2, 3, 0), counts=(4, 2, 1))
    >>> print(structure_table(Ticket({"layers.0.self_attn.q_proj": q}, Origin("dominant")), k=2))
    layer  Q    K  V  O  FC1  FC2
        0  2 b  -  -  -  -    -
    """
    cells = {}
    for name, entry in ticket.top(k).matrices.items():
        _, layer, module = name.split(".", 2)
        shown = ["b" if c == entry.shape[1] else str(c) for c in entry.columns]
        cells[int(layer), KIND_OF_MODULE[module]] = " ".join(shown)
    layers = sorted({layer for layer, _ in cells})
    rows = [["layer", *KINDS]]
    rows += [[str(layer), *(cells.get((layer, kind), "-") for kind in KINDS)] for layer in layers]
    return _columns(rows)


def describe(ticket: AnyTicket) -> str:
    """Where a ticket comes from and what it trains, one line."""
    origin = ticket.origin
    known = [
        ("task", origin.task),
        ("λ", origin.l1_lambda),
        ("σ", origin.sigma),
        ("updates", origin.num_updates),
        ("seed", origin.seed),
        ("base", origin.base and origin.base[:12]),
    ]
    text = ", ".join(f"{name} {value}" for name, value in known if value is not None)
    sparsity = "" if ticket.sparsity is None else f" ({ticket.sparsity:.4%})"
    trained = f"{ticket.num_parameters:,} parameters{sparsity}"
    return f"{origin.method}: {trained}" + (f"; {text}" if text else "")


def similarity_table(pairs: Mapping[Tuple[str, str], Similarity]) -> str:
    """One pair of tickets a line, in per cent: per matrix, pooled, by kind; their mean last."""
    rows = [["per matrix", "chance", "pooled", *KINDS, "tickets"]]
    figures: List[List[Optional[float]]] = []
    for found in pairs.values():
        kinds = found.by_kind
        figures.append([found.per_matrix, found.chance, found.pooled, *map(kinds.get, KINDS)])
    names = [f"{a}  {b}" for a, b in pairs]
    if len(pairs) > 1:
        columns = [[value for value in column if value is not None] for column in zip(*figures)]
        figures.append([mean(column) if column else None for column in columns])
        names.append(f"mean of {len(pairs)} pairs")
    for line, name in zip(figures, names):
        rows.append(["-" if value is None else f"{100 * value:.1f}" for value in line] + [name])
    return _columns(rows)


def _columns(rows: List[List[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].rjust(widths[0])] + [c.ljust(w) for c, w in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
