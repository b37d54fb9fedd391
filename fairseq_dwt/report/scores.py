"""The paper's Table 2 of some runs: methods by tasks, mean ± standard deviation over seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from ..find.methods import METHODS
from .runs import Run

_ORDER = ("Full", *(method.label for method in METHODS.values()))


@dataclass(frozen=True)
class Cell:
    """The score of a method on a task: at its best learning rate, over the seeds.

    Attributes:
        lr: the learning rate with the best mean.
        runs: one of each seed.
    """

    lr: float
    runs: tuple[Run, ...]

    @property
    def scores(self) -> tuple[float, ...]:
        """Best validation score of each seed, per cent."""
        return tuple(run.best or 0.0 for run in self.runs)

    @property
    def unfinished(self) -> int:
        """Runs that have not come to their end."""
        return sum(not run.finished for run in self.runs)

    @property
    def from_log(self) -> bool:
        """Whether a run kept no predictions, so that its score is the log's."""
        return not all(run.recomputed for run in self.runs)

    def __str__(self) -> str:
        spread = f" ± {stdev(self.scores):.1f}" if len(self.scores) > 1 else ""
        return (
            f"{mean(self.scores):.1f}{spread}" + "*" * bool(self.unfinished) + "†" * self.from_log
        )


@dataclass(frozen=True)
class Row:
    """One method: what it trains, and its cell for each task (None where it was not run)."""

    method: str
    trained: int | None
    pretrained: int | None
    cells: dict[str, Cell | None]


def score_table(runs: Sequence[Run]) -> list[Row]:
    """Methods by tasks. The learning rate of a cell is the one with the best mean over seeds.

    Args:
        runs: runs of stage 2 and baselines; stage 1 is left out, and so are runs without a score.
    """
    groups: dict[tuple[str, str], dict[float, list[Run]]] = defaultdict(lambda: defaultdict(list))
    methods: dict[str, Run] = {}
    for run in runs:
        if not run.is_stage_1 and run.best is not None:
            groups[run.label, run.task][run.lr].append(run)
            methods.setdefault(run.label, run)
    tasks = sorted({task for _, task in groups})
    rows = []
    for method in sorted(methods, key=_position):
        cells = {task: _cell(groups.get((method, task))) for task in tasks}
        rows.append(Row(method, methods[method].trained, methods[method].pretrained, cells))
    return rows


def _position(method: str) -> tuple[int, str]:
    name = method.partition("-")[0]
    # larger tickets first, as in the paper
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), method)


def _cell(by_lr: dict[float, list[Run]] | None) -> Cell | None:
    if not by_lr:
        return None
    # a learning rate that was tried with one seed only does not beat one with all seeds
    most = max(len(runs) for runs in by_lr.values())
    complete = {lr: runs for lr, runs in by_lr.items() if len(runs) == most}
    lr = max(complete, key=lambda rate: mean(run.best or 0.0 for run in complete[rate]))
    return Cell(lr, tuple(sorted(complete[lr], key=lambda run: run.seed)))


def method_cells(row: Row) -> list[str]:
    """The method, its trained parameters, and their share of the pre-trained ones."""
    share = row.trained / row.pretrained if row.trained and row.pretrained else None
    return [
        row.method,
        "?" if row.trained is None else f"{row.trained:,}",
        "?" if share is None else f"{share:.3%}",
    ]


def table_cells(rows: Sequence[Row]) -> list[list[str]]:
    """The table as text cells, the header first."""
    tasks = list(rows[0].cells) if rows else []
    cells = [["method", "trained", "sparsity"] + [name for t in tasks for name in (t, "lr")]]
    for row in rows:
        line = method_cells(row)
        for task in tasks:
            cell = row.cells[task]
            line += ["-", "-"] if cell is None else [str(cell), f"{cell.lr:g}"]
        cells.append(line)
    return cells


def table_text(rows: Sequence[Row]) -> str:
    """The table for a terminal."""
    cells = table_cells(rows)
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [
        "  ".join(
            [line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:])]
        ).rstrip()
        for line in cells
    ]
    if any(c and c.unfinished for row in rows for c in row.cells.values()):
        lines.append("* with runs that have not finished")
    if any(c and c.from_log for row in rows for c in row.cells.values()):
        lines.append("† as logged: the runs kept no predictions to compute it from")
    return "\n".join(lines)
