"""The structure of tickets as text: the paper's Table 1, and how alike tickets are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from statistics import mean

from ..model.names import ALL_KINDS, CROSS, KINDS, kind_of, layer_of, stack_of
from ..ticket import AnyTicket, Ticket
from ..ticket.similarity import Similarity

#: The matrices that read the same vector, the residual stream, so that their dimensions compare.
_READERS = ("Q", "K", "V", "FC1")


def structure_table(ticket: Ticket, k: int = 3) -> str:
    """The k most dominated dimensions of each matrix, one layer a line, the bias as ``b``.

    >>> from fairseq_dwt.ticket import Columns, Origin
    >>> q = Columns(shape=(4, 3), columns=(2, 3, 0), counts=(4, 2, 1))
    >>> print(structure_table(Ticket({"layers.0.self_attn.q_proj": q}, Origin("dominant")), k=2))
    layer  Q    K  V  O  FC1  FC2
        0  2 b  -  -  -  -    -
    """
    tables = []
    for stack, part in stacks(ticket).items():
        found, kinds = cells(part, k), kinds_of(part)
        rows = [["layer", *kinds]]
        for layer in sorted({layer for layer, _ in found}):
            rows.append([str(layer), *(found.get((layer, kind), "-") for kind in kinds)])
        title = f"{stack.rstrip('.')}\n" if stack else ""
        tables.append(title + _columns(rows))
    return "\n\n".join(tables)


def stacks(ticket: Ticket) -> dict[str, Ticket]:
    """A ticket by the stacks of its model: ``''`` of a RoBERTa, ``encoder.``, ``decoder.``."""
    names = sorted({stack_of(name) for name in ticket.matrices})
    return {
        stack: replace(
            ticket, matrices={n: e for n, e in ticket.matrices.items() if stack_of(n) == stack}
        )
        for stack in names
    }


def kinds_of(ticket: Ticket) -> tuple[str, ...]:
    """The kinds of matrices of one stack, in the order of tables."""
    return kinds_shown({kind_of(name) for name in ticket.matrices})


def kinds_shown(found: set[str]) -> tuple[str, ...]:
    """The kinds of a table: a layer's own, and cross-attention's where one was found."""
    return KINDS if found.isdisjoint(CROSS.values()) else ALL_KINDS


def cells(ticket: Ticket, k: int) -> dict[tuple[int, str], str]:
    """``{(layer, kind): the k most dominated dimensions as text, the bias as b}``."""
    found = {}
    for layer, kind, columns, width in _entries(ticket, k):
        found[layer, kind] = " ".join("b" if c == width else str(c) for c in columns)
    return found


def _entries(ticket: Ticket, k: int) -> list[tuple[int, str, tuple[int, ...], int]]:
    entries = []
    for name, entry in ticket.top(k).matrices.items():
        entries.append((layer_of(name), kind_of(name), entry.columns, entry.shape[1]))
    return entries


def bias_layers(ticket: Ticket, k: int) -> dict[str, list[int]]:
    """``{kind: the layers in which the bias is among the k most dominated}`` (Table 4)."""
    found: dict[str, list[int]] = {kind: [] for kind in ALL_KINDS}
    for layer, kind, columns, width in _entries(ticket, k):
        if width in columns:
            found[kind].append(layer)
    return found


def skeleton(ticket: Ticket, k: int) -> dict[int, dict[int, int]]:
    """In how many matrices of each layer a dimension dominates: ``{dimension: {layer: number}}``.

    Of Q, K, V and FC1, which read the same vector, without the bias; most popular first.
    """
    counts: dict[int, Counter] = {}
    for layer, kind, columns, width in _entries(ticket, k):
        if kind in _READERS:
            for column in columns:
                if column != width:
                    counts.setdefault(column, Counter())[layer] += 1
    order = sorted(counts, key=lambda c: (-sum(counts[c].values()), c))
    return {column: dict(sorted(counts[column].items())) for column in order}


def popular(ticket: Ticket, k: int, number: int = 6) -> dict[str, int]:
    """``{dimension: its rank}`` of those that dominate in two layers or more; the bias is last."""
    found = [str(c) for c, layers in skeleton(ticket, k).items() if len(layers) > 1][:number]
    return {name: rank for rank, name in enumerate([*found, "b"])}


def describe(ticket: AnyTicket) -> str:
    """Where a ticket comes from and what it trains, one line."""
    origin = ticket.origin
    known = [
        ("task", origin.task),
        ("λ", origin.l1_lambda),
        ("σ", origin.sigma),
        ("updates", origin.num_updates),
        ("batches", origin.num_batches),
        ("seed", origin.seed),
        ("base", origin.base and origin.base[:12]),
    ]
    text = ", ".join(f"{name} {value}" for name, value in known if value is not None)
    sparsity = "" if ticket.sparsity is None else f" ({ticket.sparsity:.4%})"
    trained = f"{ticket.num_parameters:,} parameters{sparsity}"
    return f"{origin.method}: {trained}" + (f"; {text}" if text else "")


def similarity_table(pairs: Mapping[tuple[str, str], Similarity]) -> str:
    """One pair of tickets a line, in per cent: per matrix, pooled, by kind; their mean last."""
    shown = kinds_shown({kind for found in pairs.values() for kind in found.by_kind})
    rows = [["per matrix", "chance", "pooled", *shown, "tickets"]]
    figures: list[list[float | None]] = []
    for found in pairs.values():
        kinds = found.by_kind
        figures.append([found.per_matrix, found.chance, found.pooled, *map(kinds.get, shown)])
    names = [f"{a}  {b}" for a, b in pairs]
    if len(pairs) > 1:
        columns = [[value for value in column if value is not None] for column in zip(*figures)]
        figures.append([mean(column) if column else None for column in columns])
        names.append(f"mean of {len(pairs)} pairs")
    for line, name in zip(figures, names):
        rows.append(["-" if value is None else f"{100 * value:.1f}" for value in line] + [name])
    return _columns(rows)


def _columns(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].rjust(widths[0])] + [c.ljust(w) for c, w in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
