"""The paper's Table 2 of some runs: methods by tasks, mean ± standard deviation over seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from ..find.methods import METHODS
from ..glue.metrics import METRICS
from .runs import Run

_ORDER = ("Full", *(n for m in METHODS.values() for n in (m.label, m.of_elements)))


@dataclass(frozen=True)
class Cell:
    """The score of a method on a task: at its best learning rate, over the seeds.

    Attributes:
        lr: the learning rate with the best mean.
        runs: of one base model and metric, by seed.
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
    def repeated(self) -> bool:
        """Whether a seed has several runs: they differ in what the table does not say."""
        return len({run.seed for run in self.runs}) < len(self.runs)

    @property
    def from_log(self) -> bool:
        """Whether a run kept no predictions, so that its score is the log's."""
        return not all(run.recomputed for run in self.runs)

    def __str__(self) -> str:
        digits = 1 if self.runs[0].metric in METRICS else 2
        spread = f" ± {stdev(self.scores):.{digits}f}" if len(self.scores) > 1 else ""
        marks = "*" * bool(self.unfinished) + "†" * self.from_log + "‡" * self.repeated
        return f"{mean(self.scores):.{digits}f}{spread}{marks}"


@dataclass(frozen=True)
class Row:
    """One method on one base model: what it trains, and its cell for each task (None: not run).

    Two metrics of a task are two tasks, ``RTE`` and ``RTE, loss``.
    """

    method: str
    trained: int | None
    pretrained: int | None
    cells: dict[str, Cell | None]


def score_table(runs: Sequence[Run]) -> list[Row]:
    """Methods by tasks. The learning rate of a cell is the one with the best mean over seeds.

    Args:
        runs: runs of stage 2 and baselines; stage 1 is left out, and so are runs without a score.
    """
    scored = [run for run in runs if not run.is_stage_1 and run.best is not None]
    metrics: dict[str, list[str]] = defaultdict(list)
    bases: dict[str, set[int | None]] = defaultdict(set)
    for run in scored:
        if run.metric not in metrics[run.task]:
            metrics[run.task].append(run.metric)
        bases[run.label].add(run.pretrained)
    by_rate: dict[tuple[str, str], dict[float, list[Run]]] = defaultdict(lambda: defaultdict(list))
    first: dict[str, Run] = {}
    for run in scored:
        several = len(bases[run.label]) > 1
        size = f"{run.pretrained:,}" if run.pretrained else "?"
        method = f"{run.label} ({size} parameters)" if several else run.label
        task = run.task if run.metric == metrics[run.task][0] else f"{run.task}, {run.metric}"
        by_rate[method, task][run.lr].append(run)
        first.setdefault(method, run)
    tasks = sorted({task for _, task in by_rate})
    rows = []
    for method in sorted(first, key=lambda method: _position(first[method])):
        cells = {task: _cell(by_rate.get((method, task))) for task in tasks}
        rows.append(Row(method, first[method].trained, first[method].pretrained, cells))
    return rows


def _position(run: Run) -> tuple[int, str, int]:
    places = [n for n, name in enumerate(_ORDER) if name and run.method.startswith(name)]
    # larger tickets first, as in the paper
    return places[0] if places else len(_ORDER), run.label, run.pretrained or 0


def _cell(by_lr: dict[float, list[Run]] | None) -> Cell | None:
    if not by_lr:
        return None
    # a learning rate that was tried with one seed only does not beat one with all seeds
    most = max(len(runs) for runs in by_lr.values())
    complete = {lr: runs for lr, runs in by_lr.items() if len(runs) == most}
    means = {lr: mean(run.best or 0.0 for run in runs) for lr, runs in complete.items()}
    any_run = next(iter(complete.values()))[0]
    lr = max(means, key=lambda lr: any_run.worth(means[lr]))
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
    if any(c and c.repeated for row in rows for c in row.cells.values()):
        lines.append("‡ with several runs of a seed, which differ in what stands in no column")
    return "\n".join(lines)
