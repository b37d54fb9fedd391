"""Scores, and how they were learnt: Tables 2 and 3, Figure 3."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from ..glue.suite import TASKS
from . import paper
from .document import Section, Table
from .figures import (
    curves_figure,
    mean_line,
)
from .scores import Row, method_cells


def scores_section(rows: Sequence[Row], data: dict[str, Any]) -> Section | None:
    if not rows:
        return None
    tasks = list(rows[0].cells)
    header = ["method", "trained", "share"]
    for task in tasks:
        header += [task, "rate", "paper", "difference"]
    body, data["scores"] = [], []
    for row in rows:
        line = method_cells(row)
        for task in tasks:
            cell = row.cells[task]
            printed = paper.SCORES.get(row.method.partition(" (")[0], {}).get(task)
            if cell is not None and not _as_printed(task, cell.runs[0].metric):
                printed = None
            line += ["–", ""] if cell is None else [str(cell), f"{cell.lr:g}"]
            line.append("" if printed is None else f"{printed:.1f}")
            both = cell is not None and printed is not None
            line.append(f"{mean(cell.scores) - printed:+.1f}" if both else "")  # type: ignore
            if cell is not None:
                entry = {
                    "method": row.method, "task": task, "trained": row.trained, "lr": cell.lr,
                    "metric": cell.runs[0].metric, "scores": cell.scores, "paper": printed,
                    "seeds": [run.seed for run in cell.runs], "unfinished": cell.unfinished,
                    "from_log": cell.from_log,
                }  # fmt: skip
                data["scores"].append(entry)
        body.append(line)
    note = (
        "Best validation, per cent: mean ± standard deviation over seeds, at the learning rate "
        "with the best mean on the dev set, as in the paper; computed from the predictions of the "
        "best checkpoint. Trained: pre-trained parameters; the classification head comes on top. "
        "Paper: RoBERTa-large (Tables 2 and 3). * with runs that have not finished. † as logged: "
        "the runs kept no predictions. ‡ with several runs of a seed, which differ in what stands "
        "in no column."
    )
    return Section("Scores (Tables 2 and 3)", [], [Table("table2", header, body, note)])


def _as_printed(task: str, metric: str) -> bool:
    """Whether the paper prints this metric of the task."""
    return any(t.folder == task and t.best_metric == metric for t in TASKS.values())


def curves_section(rows: Sequence[Row]) -> Section | None:
    tasks: dict[str, dict[str, Any]] = {}
    metrics = {}
    for row in rows:
        for task, cell in row.cells.items():
            if cell is None:
                continue
            lines = (
                mean_line([[(u, loss) for u, loss, _ in run.training] for run in cell.runs]),
                mean_line([[(u, right) for u, _, right in run.training] for run in cell.runs]),
                mean_line([list(run.validations) for run in cell.runs]),
            )
            if lines[0][0] or lines[2][0]:
                tasks.setdefault(task, {})[row.method] = lines
                metrics[task] = cell.runs[0].metric
    if not tasks:
        return None
    return Section("Learning (Figure 3)", [], [curves_figure(tasks, metrics)])
