"""From runs to a document: every table and figure of the paper that they can fill."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean
from typing import Any

from ..checkpoint import ROUNDED, Pretrained, Tuned, load_checkpoint
from ..errors import DwtError
from ..find.dominant import SIGMA, Movement
from ..model.names import KINDS
from ..run.folder import CHECKPOINT_LAST, SIGMA_MASK, TICKET
from ..ticket import PUBLISHED, ElementMask, Ticket, load_ticket
from ..ticket.similarity import Similarity, similarity
from . import paper
from .document import Document, Section, Table
from .figures import (
    curves_figure,
    mean_line,
    out_weighted_figure,
    similarity_figure,
    skeleton_figure,
)
from .runs import Run
from .scores import Row, method_cells, score_table
from .structure import bias_layers, cells, describe, popular, skeleton

__all__ = ["make_document"]

#: Columns per matrix in the structure tables, as in the paper.
_K = 3
_SKELETON = 12


@dataclass(frozen=True)
class _Found:
    """A stage 1 among the runs, and its ticket."""

    run: Run
    ticket: Ticket

    @property
    def name(self) -> str:
        return f"{self.run.task}, seed {self.run.seed}"


def make_document(runs: Sequence[Run]) -> Document:
    """All sections that the runs can fill, in the paper's order of thought.

    Args:
        runs: of both stages, in any order; unfinished ones too.

    Raises:
        DwtError: a ticket or checkpoint of a run is broken.
    """
    document = Document()
    found = _tickets(runs)
    rows = score_table(runs)
    for section in (
        _scores_section(rows, document.data),
        _curves_section(rows),
        *_structure_sections(found, document.data),
        _out_weighted_section(found),
        _similarity_section(found, document.data),
        _runs_section(runs, document.data),
    ):
        if section is not None:
            document.sections.append(section)
    return document


def _tickets(runs: Sequence[Run]) -> list[_Found]:
    found = []
    for run in runs:
        path = os.path.join(run.folder, TICKET)
        if run.is_stage_1 and os.path.isfile(path):
            found.append(_Found(run, Ticket.load(path)))
    return sorted(found, key=lambda f: (f.run.task, f.run.seed, f.run.folder))


# -- scores -------------------------------------------------------------------------------------


def _scores_section(rows: Sequence[Row], data: dict[str, Any]) -> Section | None:
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
        "the runs kept no predictions."
    )
    return Section("Scores (Tables 2 and 3)", [], [Table("table2", header, body, note)])


def _curves_section(rows: Sequence[Row]) -> Section | None:
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


# -- structure ----------------------------------------------------------------------------------


def _structure_sections(found: Sequence[_Found], data: dict[str, Any]) -> list[Section]:
    """Table 1 and the skeleton of the largest ticket; Table 4; Tables 5 to 10 by task."""
    by_task: dict[str, _Found] = {}
    for one in found:
        if one.ticket.matrices:
            by_task.setdefault(one.run.task, one)
    if not by_task:
        return []
    first = max(by_task.values(), key=lambda f: f.ticket.top(_K).num_parameters)
    marks = popular(first.ticket, _K)
    layers = 1 + max(
        int(name.split(".")[1]) for f in by_task.values() for name in f.ticket.matrices
    )
    columns = cells(first.ticket, _K)
    table1 = Table(
        "table1",
        ["layer", *KINDS],
        [[str(n), *(columns.get((n, kind), "none") for kind in KINDS)] for n in range(layers)],
        "Most dominated first; b is the bias. The most popular dimensions are coloured.",
        marks,
    )
    bones = dict(list(skeleton(first.ticket, _K).items())[:_SKELETON])
    data["structure"] = {
        f.name: {
            "top": {f"{layer}.{kind}": text for (layer, kind), text in cells(f.ticket, _K).items()},
            "skeleton": skeleton(f.ticket, _K),
            "bias_layers": bias_layers(f.ticket, _K),
            "parameters": {k: f.ticket.top(k).num_parameters for k in (1, 3)},
        }
        for f in found
    }
    sections = [
        Section(
            f"Structure of the ticket of {first.name} (Table 1)",
            [describe(first.ticket.top(_K))],
            [table1, skeleton_figure(bones, layers, first.name)],
        ),
        Section("The bias among the dominated dimensions (Table 4)", [], [_bias_table(found)]),
    ]
    if len(by_task) > 1:
        sections.append(_tasks_section(by_task, layers, marks))
    return sections


def _bias_table(found: Sequence[_Found]) -> Table:
    published = load_ticket(PUBLISHED[0]).as_columns(PUBLISHED[0])
    rows = []
    for name, ticket in [*((f.name, f.ticket) for f in found), ("paper, MNLI", published)]:
        layers = 1 + max((int(n.split(".")[1]) for n in ticket.matrices), default=-1)
        biased = bias_layers(ticket, _K)
        rows.append([name, *(f"{len(biased[kind])} of {layers}" for kind in KINDS)])
    note = (
        f"Layers in which the bias is among the first {_K} dimensions. The paper prints the "
        "columns of O and FC2: it connects the ticket with BitFit."
    )
    return Table("table4", ["ticket", *KINDS], rows, note)


def _tasks_section(by_task: Mapping[str, _Found], layers: int, marks: Mapping[str, int]) -> Section:
    tables = []
    for number, kind in enumerate(KINDS, start=5):
        rows = []
        for layer in range(layers):
            shown = [cells(f.ticket, _K).get((layer, kind), "none") for f in by_task.values()]
            rows.append([str(layer), *shown])
        tables.append(Table(f"table{number}", [f"{kind}, layer", *by_task], rows, "", marks))
    return Section("Structure across tasks (Tables 5 to 10)", [], tables)


# -- out-weighted parameters ---------------------------------------------------------------------


def _out_weighted_section(found: Sequence[_Found]) -> Section | None:
    masks: dict[str, ElementMask] = {}
    notes: list[str] = []
    for one in found:
        if one.run.task not in masks:
            mask = _sigma_mask(one, notes)
            # of one model: those of another have other matrices
            if mask is not None and all(
                mask.masks.keys() == m.masks.keys() for m in masks.values()
            ):
                masks[one.run.task] = mask
    if not masks:
        return None
    return Section("Out-weighted parameters (Figure 2)", notes, [out_weighted_figure(masks)])


def _sigma_mask(found: _Found, notes: list[str]) -> ElementMask | None:
    """What the run wrote, or its last checkpoint against the pre-trained file; may add a note."""
    folder = found.run.folder
    path = os.path.join(folder, SIGMA_MASK)
    if os.path.isfile(path):
        return ElementMask.load(path)
    checkpoint = os.path.join(folder, CHECKPOINT_LAST)
    if not os.path.isfile(checkpoint):
        return None
    settings = load_checkpoint(checkpoint)["cfg"]["checkpoint"]
    pretrained = Pretrained(settings["finetune_from_model"] or settings["restore_file"])
    tuned = Tuned(checkpoint)
    if tuned.counts_rounded:
        notes.append(f"{found.run.task}: its checkpoint {ROUNDED}.")
    origin = found.ticket.origin
    return Movement.between(pretrained, tuned, origin.sigma or SIGMA).mask(origin)


# -- similarity ---------------------------------------------------------------------------------


def _similarity_section(found: Sequence[_Found], data: dict[str, Any]) -> Section | None:
    found = [f for f in found if f.ticket.matrices]
    pairs: dict[tuple[int, int], Similarity] = {}
    for i, j in combinations(range(len(found)), 2):
        try:
            pairs[i, j] = similarity(found[i].ticket.top(_K), found[j].ticket.top(_K))
        except DwtError:
            continue  # of another model
    seeds = [s for (i, j), s in pairs.items() if found[i].run.task == found[j].run.task]
    tasks = [
        s for (i, j), s in pairs.items()
        if found[i].run.task != found[j].run.task and found[i].run.seed == found[j].run.seed
    ]  # fmt: skip
    rows = []
    data["similarity"] = {}
    for name, group, printed in (
        ("across seeds, same task", seeds, paper.JACCARD_SEEDS),
        ("across tasks, same seed", tasks, paper.JACCARD_TASKS),
    ):
        if not group:
            continue
        kinds = [[s.by_kind[kind] for s in group if kind in s.by_kind] for kind in KINDS]
        figures = {
            "per_matrix": mean(s.per_matrix for s in group),
            "chance": mean(s.chance for s in group),
            "pooled": mean(s.pooled for s in group),
            **{kind: mean(values) for kind, values in zip(KINDS, kinds) if values},
        }
        data["similarity"][name] = {"pairs": len(group), "paper": printed, **figures}
        shown = [f"{figures[key]:.2f}" if key in figures else "–"
                 for key in ("per_matrix", "chance", "pooled", *KINDS)]  # fmt: skip
        rows.append([name, str(len(group)), *shown, f"{printed:.2f}"])
    if not rows:
        return None
    header = ["", "pairs", "per matrix", "by chance", "pooled", *KINDS, "paper"]
    note = (
        f"Jaccard similarity of top-{_K} tickets: the mean over matrices, what uniformly drawn "
        "tickets of the same sizes are expected to have, and the similarity of all (matrix, "
        "dimension) pairs pooled. The paper's figure is met by the mean over matrices."
    )
    values = [[1.0] * len(found) for _ in found]
    for (i, j), pair in pairs.items():
        values[i][j] = values[j][i] = pair.per_matrix
    shown_figures = []
    if len(pairs) == len(found) * (len(found) - 1) // 2:
        names = [f"{f.run.task} {f.run.seed}" for f in found]
        shown_figures.append(similarity_figure(names, values))
    return Section(
        "Similarity across seeds and tasks (section 5.2)",
        [],
        [Table("similarity_table", header, rows, note), *shown_figures],
    )


# -- runs ---------------------------------------------------------------------------------------


def _runs_section(runs: Sequence[Run], data: dict[str, Any]) -> Section:
    rows = []
    data["runs"] = []
    for run in runs:
        best = run.best
        updates = max((u for u, *_ in [*run.validations, *run.training]), default=0)
        state = "finished" if run.finished else "unfinished"
        score = "–" if best is None else f"{best:.2f}" + "†" * (not run.recomputed)
        rows.append(
            [run.label, run.task, f"{run.lr:g}", str(run.seed), f"{updates:,.0f}", score, state]
        )
        data["runs"].append(
            {
                "folder": run.folder,
                "method": run.label,
                "task": run.task,
                "lr": run.lr,
                "seed": run.seed,
                "updates": updates,
                "metric": run.metric,
                "best": best,
                "recomputed": run.recomputed,
                "finished": run.finished,
                "trained": run.trained,
            }  # fmt: skip
        )
    header = ["method", "task", "rate", "seed", "updates", "best validation", ""]
    note = "† as logged: the run kept no predictions to compute it from."
    return Section("All runs", [], [Table("runs", header, rows, note)])
