"""Why these columns: reasons beside a ticket, as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..find.explain import Reasons, overlaps
from ..model.names import ALL_KINDS, Matrix, stack_of
from ..ticket import Ticket
from ..ticket.similarity import Similarity
from .document import Document, Figure, Section, Table
from .theme import CATEGORIES, PAGE, Theme, draw


def explain_document(
    found: Reasons, ticket: Ticket, matrices: Sequence[Matrix], ks: Sequence[int] = (1, 3)
) -> Document:
    """A table of reasons, a picture of one matrix, and a table of each matrix's columns.

    Args:
        found: of :func:`~fairseq_dwt.find.explain.reasons`.
        ticket: to explain.
        matrices: of the model.
        ks: columns per matrix, at most, at which reason and ticket are compared.
    """
    compared = {k: overlaps(found, ticket, k) for k in ks}
    shown: list[Table | Figure] = [reasons_table(compared)]
    drawn = [m for m in matrices if m.kind == "K"]
    if drawn:
        shown.append(_picture(found, ticket, drawn[len(drawn) // 2]))
    document = Document([Section("Why these columns", [], shown)])
    tables: list[Table | Figure] = [
        _of_matrix(found, matrix, ticket, max(ks))
        for matrix in matrices
        if matrix.name in ticket.matrices
    ]
    text = ["A column's rank among all of its matrix, by each reason; the bias is b."]
    document.sections.append(Section("Matrix by matrix", text, tables))
    document.data = {
        "ticket": {"method": ticket.origin.method, "task": ticket.origin.task},
        "overlaps": {
            str(k): {reason: one.summary() for reason, one in by_reason.items()}
            for k, by_reason in compared.items()
        },
        "reasons": {
            reason: {name: values.tolist() for name, values in scores.items()}
            for reason, scores in found.items()
        },
    }
    return document


def reasons_table(compared: Mapping[int, Mapping[str, Similarity]]) -> Table:
    """Per-matrix Jaccard of each reason's first columns and the ticket's, at each k, by kind."""
    first = next(iter(compared.values()))
    spoken_of = {kind for one in first.values() for kind in one.by_kind}
    kinds = [kind for kind in ALL_KINDS if kind in spoken_of]
    header = ["reason"]
    for k in compared:
        header += [f"k = {k}", "chance", *(f"{kind} ({k})" for kind in kinds)]
    rows = []
    for reason in first:
        row = [reason]
        for by_reason in compared.values():
            one = by_reason[reason]
            row += [f"{one.per_matrix:.2f}", f"{one.chance:.3f}"]
            row += [f"{one.by_kind[n]:.2f}" if n in one.by_kind else "" for n in kinds]
        rows.append(row)
    note = (
        "Jaccard similarity of the ticket's columns and as many that the reason ranks first, mean "
        "over the matrices of which it speaks: a norm stands before some of them only."
    )
    return Table("reasons", header, rows, note)


def _of_matrix(found: Reasons, matrix: Matrix, ticket: Ticket, k: int) -> Table:
    speak = _of(found, matrix)
    rows = []
    for column in ticket.top(k).matrices[matrix.name].columns:
        name = "b" if column == matrix.in_features else str(column)
        rows.append([name, *(f"{v[column]:.3g} ({_rank(v, column)})" for v in speak.values())])
    return Table(f"matrix-{_place(matrix, '-')}", [_place(matrix), *speak], rows)


def _place(matrix: Matrix, between: str = " ") -> str:
    """Where a matrix stands: ``decoder layer 0 FC1``, of a RoBERTa ``layer 0 FC1``."""
    stack = [part for part in stack_of(matrix.name).split(".") if part]
    return between.join([*stack, "layer", str(matrix.layer), matrix.kind])


def _of(found: Reasons, matrix: Matrix) -> dict[str, Tensor]:
    """What each reason says of a matrix, where it does."""
    return {reason: s[matrix.name] for reason, s in found.items() if matrix.name in s}


def _rank(values: Tensor, column: int) -> int:
    return int((values > values[column]).sum()) + 1


def _picture(found: Reasons, ticket: Ticket, matrix: Matrix) -> Figure:
    """Each reason over the dimensions of one matrix; the ticket's columns stand out."""
    speak = _of(found, matrix)
    entry = ticket.top(3).matrices.get(matrix.name)
    columns = () if entry is None else entry.columns

    def paint(figure: Any, theme: Theme) -> None:
        axes = figure.subplots(len(speak), 1, sharex=True, squeeze=False)[:, 0]
        for axis, (reason, values) in zip(axes, speak.items()):
            heights = values.numpy()
            axis.vlines(np.arange(len(heights)), 0, heights, color=theme["faint"], linewidth=0.8)
            for column in columns:
                axis.vlines(column, 0, heights[column], color=CATEGORIES[1], linewidth=1.6)
            axis.set_ylabel(reason, rotation=0, ha="right", va="center")
            axis.set_yticks([])
            axis.set_ylim(0, None)
        axes[-1].set_xlabel("dimension; the bias at the right edge")

    caption = (
        f"What each reason says of the dimensions of {_place(matrix)}; "
        "orange, the ticket's first three columns."
    )
    return draw("reasons-figure", caption, (PAGE, 0.6 + 0.45 * len(speak)), paint)
