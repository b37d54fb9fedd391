"""The structure of tickets: Table 1 and its skeleton, Table 4, Tables 5 to 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..model.names import KINDS
from ..ticket import PUBLISHED, load_ticket
from .document import Section, Table
from .figures import (
    skeleton_figure,
)
from .found import Found, K
from .structure import bias_layers, cells, describe, popular, skeleton

_SKELETON = 12


def structure_sections(found: Sequence[Found], data: dict[str, Any]) -> list[Section]:
    """Table 1 and the skeleton of the largest ticket; Table 4; Tables 5 to 10 by task."""
    by_task: dict[str, Found] = {}
    for one in found:
        if one.ticket.matrices:
            by_task.setdefault(one.run.task, one)
    if not by_task:
        return []
    first = max(by_task.values(), key=lambda f: f.ticket.top(K).num_parameters)
    marks = popular(first.ticket, K)
    layers = 1 + max(
        int(name.split(".")[1]) for f in by_task.values() for name in f.ticket.matrices
    )
    columns = cells(first.ticket, K)
    table1 = Table(
        "table1",
        ["layer", *KINDS],
        [[str(n), *(columns.get((n, kind), "none") for kind in KINDS)] for n in range(layers)],
        "Most dominated first; b is the bias. The most popular dimensions are coloured.",
        marks,
    )
    bones = dict(list(skeleton(first.ticket, K).items())[:_SKELETON])
    data["structure"] = {
        f.name: {
            "top": {f"{layer}.{kind}": text for (layer, kind), text in cells(f.ticket, K).items()},
            "skeleton": skeleton(f.ticket, K),
            "bias_layers": bias_layers(f.ticket, K),
            "parameters": {k: f.ticket.top(k).num_parameters for k in (1, 3)},
        }
        for f in found
    }
    sections = [
        Section(
            f"Structure of the ticket of {first.name} (Table 1)",
            [describe(first.ticket.top(K))],
            [table1, skeleton_figure(bones, layers, first.name)],
        ),
        Section("The bias among the dominated dimensions (Table 4)", [], [_bias_table(found)]),
    ]
    if len(by_task) > 1:
        sections.append(_tasks_section(by_task, layers, marks))
    return sections


def _bias_table(found: Sequence[Found]) -> Table:
    published = load_ticket(PUBLISHED[0]).as_columns(PUBLISHED[0])
    rows = []
    for name, ticket in [*((f.name, f.ticket) for f in found), ("paper, MNLI", published)]:
        layers = 1 + max((int(n.split(".")[1]) for n in ticket.matrices), default=-1)
        biased = bias_layers(ticket, K)
        rows.append([name, *(f"{len(biased[kind])} of {layers}" for kind in KINDS)])
    note = (
        f"Layers in which the bias is among the first {K} dimensions. The paper prints the "
        "columns of O and FC2: it connects the ticket with BitFit."
    )
    return Table("table4", ["ticket", *KINDS], rows, note)


def _tasks_section(by_task: Mapping[str, Found], layers: int, marks: Mapping[str, int]) -> Section:
    tables = []
    for number, kind in enumerate(KINDS, start=5):
        rows = []
        for layer in range(layers):
            shown = [cells(f.ticket, K).get((layer, kind), "none") for f in by_task.values()]
            rows.append([str(layer), *shown])
        tables.append(Table(f"table{number}", [f"{kind}, layer", *by_task], rows, "", marks))
    return Section("Structure across tasks (Tables 5 to 10)", [], tables)
