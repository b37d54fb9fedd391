"""The tables of the one-shot study (``oneshot.py``)."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from fairseq_dwt.model.names import KIND_OF_MODULE
from fairseq_dwt.ticket import Columns, Ticket
from fairseq_dwt.ticket.similarity import similarity


def as_many_as(ticket: Ticket, other: Ticket) -> Ticket:
    """The first columns of each matrix, as many as ``other`` has there."""
    numbers = {name: len(entry.columns) for name, entry in other.matrices.items()}
    return Ticket(
        {
            name: Columns(entry.shape, entry.columns[: numbers[name]])
            for name, entry in ticket.matrices.items()
            if name in numbers
        },
        ticket.origin,
    )


def compare(ticket: Ticket, reference: Ticket) -> dict[str, Any]:
    """Similarity at k = 1 and 3; again with L1's number of columns in each matrix; by kind."""
    values: dict[str, Any] = {}
    for k in (1, 3):
        target = reference.top(k)
        found = similarity(ticket.top(k), target)
        values[f"top{k}"] = found.per_matrix
        values[f"kinds{k}"] = found.by_kind
        values[f"layers{k}"] = _by_layer(found.matrices)
        values[f"chance{k}"] = found.chance
        values[f"given{k}"] = similarity(as_many_as(ticket, target), target).per_matrix
    return values


def _by_layer(matrices: dict[str, float]) -> dict[str, float]:
    layers = defaultdict(list)
    for name, value in matrices.items():
        layers[name.split(".")[1]].append(value)
    return {layer: statistics.mean(values) for layer, values in layers.items()}


def l1_pairs(references: list[tuple[str, Ticket]]) -> list[dict[str, Any]]:
    """How alike L1's own tickets are: what can be asked of a score."""
    pairs = []
    for i, (path, ticket) in enumerate(references):
        for other, reference in references[i + 1 :]:
            same = ticket.origin.task == reference.origin.task
            kinds = similarity(ticket.top(3), reference.top(3)).by_kind
            tops = {
                f"top{k}": similarity(ticket.top(k), reference.top(k)).per_matrix for k in (1, 3)
            }
            tasks = [ticket.origin.task, reference.origin.task]
            pairs.append(
                {"l1": [path, other], "same": same, "tasks": tasks, "kinds3": kinds, **tops}
            )
    return pairs


def tables(result: dict[str, Any], tasks: list[str]) -> str:
    """The study's tables, of means over seeds and L1 tickets."""
    rows, pairs = result["rows"], result["l1"]
    tops, given = ("top1", "top3"), ("given1", "given3")
    plain = "gradient norm, "

    def cell(found: Iterable[dict[str, Any]], keys: tuple[str, str] = tops) -> str:
        kept = list(found)
        if not kept:
            return "-"
        return " / ".join(f"{statistics.mean(row[key] for row in kept):.2f}" for key in keys)

    def of(score: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        mine = [row for row in rows if row["score"] == score]
        same = [row for row in mine if row["task"] == row["l1_task"]]
        return same, [row for row in mine if row not in same]

    def table(*lines: Sequence[str]) -> str:
        head, *body = ("| " + " | ".join(line) + " |" for line in lines)
        return "\n".join([head, "|---" * len(lines[0]) + "|", *body]) + "\n"

    on = [f"L1 on {task}" for task in tasks]
    names = [n for n in dict.fromkeys(r["score"] for r in rows) if not n[-1].isdigit()]
    many = "as many columns as L1, "
    lines = [["k = 1 / k = 3", *on, "other tasks", f"{many}same task", f"{many}other tasks"]]
    for name in names:
        same, other = of(name)
        own = [cell(row for row in same if row["task"] == task) for task in tasks]
        lines.append([name, *own, cell(other), cell(same, given), cell(other, given)])
    own = [cell(pair for pair in pairs if pair["tasks"] == [task, task]) for task in tasks]
    lines.append(["L1, another seed", *own, cell(p for p in pairs if not p["same"]), "-", "-"])
    text = table(*lines)

    lines = [["batches", *on]]
    numbers = {r["score"][len(plain) :] for r in rows if r["score"].startswith(plain)}
    for number in sorted(int(n) for n in numbers if n.isdigit()):
        same, _ = of(f"{plain}{number}")
        lines.append([str(number), *(cell(r for r in same if r["task"] == t) for t in tasks)])
    text += "\n" + table(*lines)

    kinds = list(KIND_OF_MODULE.values())
    lines = [["k = 3, by kind: gradient norm (L1, another seed)", *kinds]]
    for task in tasks:
        same = [row for row in of("gradient norm")[0] if row["task"] == task]
        seeds = [pair for pair in pairs if pair["tasks"] == [task, task]]
        lines.append([task])
        for kind in kinds:
            both = [
                [row["kinds3"][kind] for row in found if kind in row["kinds3"]]
                for found in (same, seeds)
            ]
            shown = [f"{statistics.mean(values):.2f}" if values else "-" for values in both]
            lines[-1].append(f"{shown[0]} ({shown[1]})")
    text += "\n" + table(*lines)

    layers = sorted({layer for row in rows for layer in row["layers3"]}, key=int)
    lines = [["k = 3, by layer: gradient norm", *layers]]
    for task in tasks:
        same = [row["layers3"] for row in of("gradient norm")[0] if row["task"] == task]
        means = [statistics.mean(row[n] for row in same if n in row) for n in layers]
        lines.append([task, *(f"{mean:.2f}" for mean in means)])
    text += "\n" + table(*lines)
    chances = [max(row[f"chance{k}"] for row in rows) for k in (1, 3)]
    text += f"\nby chance: {chances[0]:.3f} / {chances[1]:.3f} at most\n"
    for task, ratio in result.get("time", {}).items():
        text += f"\n{task}: a one-shot batch takes {ratio:.2f} of an update of stage 1"
    return text
