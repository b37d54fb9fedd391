"""From runs to a document: every table and figure of the paper that they can fill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..glue.metrics import METRICS
from .document import Document, Section, Table
from .equation4 import similarity_section
from .figure2 import out_weighted_section
from .found import tickets_of
from .runs import Run
from .scores import score_table
from .table1 import structure_sections
from .table2 import curves_section, scores_section


def make_document(runs: Sequence[Run]) -> Document:
    """All sections that the runs can fill, in the paper's order of thought.

    Args:
        runs: of both stages, in any order; unfinished ones too.

    Raises:
        DwtError: a ticket or checkpoint of a run is broken.
    """
    document = Document()
    found = tickets_of(runs)
    rows = score_table(runs)
    for section in (
        scores_section(rows, document.data),
        curves_section(rows),
        *structure_sections(found, document.data),
        out_weighted_section(found),
        similarity_section(found, document.data),
        _runs_section(runs, document.data),
    ):
        if section is not None:
            document.sections.append(section)
    return document


def _runs_section(runs: Sequence[Run], data: dict[str, Any]) -> Section:
    rows = []
    data["runs"] = []
    for run in runs:
        best = run.best
        updates = max((u for u, *_ in [*run.validations, *run.training]), default=0)
        state = "finished" if run.finished else "unfinished"
        score = "–" if best is None else f"{best:.2f}" + "†" * (not run.recomputed)
        score += f" {run.metric}" * (run.metric not in METRICS)
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
