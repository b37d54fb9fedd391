"""The structure of tickets: Table 1 and its skeleton, Table 4, Tables 5 to 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..model.names import layer_of
from ..ticket import PUBLISHED, load_ticket
from .document import Section, Table
from .figures import (
    skeleton_figure,
)
from .found import Found, K
from .structure import bias_layers, cells, describe, kinds_of, popular, skeleton, stacks

_SKELETON = 12


def structure_sections(found: Sequence[Found], data: dict[str, Any]) -> list[Section]:
    """Table 1 and the skeleton of the largest ticket; Table 4; Tables 5 to 10 by task.

    Of a model of several stacks, as encoder and decoder, each of them for each stack.
    """
    by_stack: dict[str, list[Found]] = {}
    for one in found:
        for stack, ticket in stacks(one.ticket).items():
            by_stack.setdefault(stack, []).append(replace(one, ticket=ticket))
    sections: list[Section] = []
    for stack, ones in by_stack.items():
        name = stack.rstrip("._").replace(".", "_")
        told = {f"{f.name}, {name}" if name else f.name: _described(f) for f in ones}
        data["structure"] = {**data.get("structure", {}), **told}
        sections += _of_stack(ones, name)
    return sections


def _described(found: Found) -> dict[str, Any]:
    ticket = found.ticket
    return {
        "top": {f"{layer}.{kind}": text for (layer, kind), text in cells(ticket, K).items()},
        "skeleton": skeleton(ticket, K),
        "bias_layers": bias_layers(ticket, K),
        "parameters": {k: ticket.top(k).num_parameters for k in (1, 3)},
    }


def _of_stack(found: Sequence[Found], stack: str) -> list[Section]:
    by_task: dict[str, Found] = {}
    for one in found:
        by_task.setdefault(one.run.task, one)
    first = max(by_task.values(), key=lambda f: f.ticket.top(K).num_parameters)
    marks, kinds = popular(first.ticket, K), kinds_of(first.ticket)
    layers = 1 + max(layer_of(name) for f in by_task.values() for name in f.ticket.matrices)
    columns = cells(first.ticket, K)
    table1 = Table(
        _named("table1", stack),
        ["layer", *kinds],
        [[str(n), *(columns.get((n, kind), "none") for kind in kinds)] for n in range(layers)],
        "Most dominated first; b is the bias. The most popular dimensions are coloured.",
        marks,
    )
    bones = dict(list(skeleton(first.ticket, K).items())[:_SKELETON])
    of = f", {stack}" if stack else ""
    sections = [
        Section(
            f"Structure of the ticket of {first.name}{of} (Table 1)",
            [describe(first.ticket.top(K))],
            [table1, skeleton_figure(bones, layers, first.name + of, stack)],
        ),
        Section(
            f"The bias among the dominated dimensions{of} (Table 4)",
            [],
            [_bias_table(found, stack)],
        ),
    ]
    if len(by_task) > 1:
        sections.append(_tasks_section(by_task, layers, marks, stack))
    return sections


def _named(name: str, stack: str) -> str:
    return f"{name}-{stack}" if stack else name


def _bias_table(found: Sequence[Found], stack: str) -> Table:
    published = load_ticket(PUBLISHED[0]).as_columns(PUBLISHED[0])
    kinds = kinds_of(found[0].ticket)
    rows = []
    for name, ticket in [*((f.name, f.ticket) for f in found), ("paper, MNLI", published)]:
        layers = 1 + max(map(layer_of, ticket.matrices))
        biased, own = bias_layers(ticket, K), kinds_of(ticket)
        rows.append([name, *(f"{len(biased[x])} of {layers}" if x in own else "–" for x in kinds)])
    note = (
        f"Layers in which the bias is among the first {K} dimensions. The paper prints the "
        "columns of O and FC2: it connects the ticket with BitFit."
    )
    return Table(_named("table4", stack), ["ticket", *kinds], rows, note)


def _tasks_section(
    by_task: Mapping[str, Found], layers: int, marks: Mapping[str, int], stack: str
) -> Section:
    tables = []
    kinds = kinds_of(next(iter(by_task.values())).ticket)
    for number, kind in enumerate(kinds, start=5):
        rows = []
        for layer in range(layers):
            shown = [cells(f.ticket, K).get((layer, kind), "none") for f in by_task.values()]
            rows.append([str(layer), *shown])
        header = [f"{kind}, layer", *by_task]
        tables.append(Table(_named(f"table{number}", stack), header, rows, "", marks))
    title = f"Structure across tasks{f', {stack}' if stack else ''} (Tables 5 to 10)"
    return Section(title, [], tables)
