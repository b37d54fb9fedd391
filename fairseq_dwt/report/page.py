"""One self-contained HTML page of some runs."""

from __future__ import annotations

import base64
import html
import os
from string import Template
from typing import List, Sequence

from ..checkpoint import Pretrained, Tuned, load_checkpoint
from ..extraction import tensors_of
from ..files import replacing
from ..ticket import Ticket
from ..version import __version__
from .heatmap import delta_heatmap
from .runs import Run
from .scores import Row, table_cells
from .structure import describe, structure_table

__all__ = ["write_page"]

_PAGE = Template(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Dominant winning ticket</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
pre { overflow-x: auto; }
img { max-width: 100%; background: #fff; }
figcaption, footer { color: #888; font-size: .9rem; }
</style>
<h1>Dominant winning ticket</h1>
$sections
<footer>fairseq_dwt $version</footer>
</html>
"""
)


def write_page(path: str, runs: Sequence[Run], rows: Sequence[Row]) -> None:
    """Write the page: the score table, then structure and heat map of each stage 1 among the runs.

    Args:
        path: file to write, whole or not at all.
        runs: all runs.
        rows: :func:`~fairseq_dwt.report.scores.score_table` of them.
    """
    sections = [_score_section(rows)] if rows else []
    for run in runs:
        if run.is_stage_1 and os.path.isfile(os.path.join(run.folder, "ticket.json")):
            sections += _ticket_sections(run)
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(_PAGE.substitute(sections="\n".join(sections), version=__version__))


def _score_section(rows: Sequence[Row]) -> str:
    header, *body = table_cells(rows)
    lines = ["<tr>" + "".join(f"<th>{html.escape(c)}</th>" for c in header) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in body]
    return (
        "<h2>Scores</h2>\n<table>\n" + "\n".join(lines) + "\n</table>\n"
        "<p>Best validation score, per cent: mean ± standard deviation over seeds, at the learning "
        "rate with the best mean. Trained: pre-trained parameters that train; the classification "
        "head comes on top. * has runs that have not finished.</p>"
    )


def _ticket_sections(run: Run) -> List[str]:
    ticket = Ticket.load(os.path.join(run.folder, "ticket.json"))
    sections = [
        f"<h2>Ticket of {html.escape(run.task)}</h2>",
        f"<p>{html.escape(describe(ticket.top(3)))}</p>",
        "<p>Top three dimensions per matrix, most dominated first; b is the bias.</p>",
        f"<pre>{html.escape(structure_table(ticket, 3))}</pre>",
    ]
    checkpoint = os.path.join(run.folder, "checkpoint_last.pt")
    if not os.path.isfile(checkpoint):
        return sections
    settings = load_checkpoint(checkpoint)["cfg"]["checkpoint"]
    pretrained = Pretrained(settings["finetune_from_model"] or settings["restore_file"])
    picture = delta_heatmap(
        pretrained.matrices,
        tensors_of(pretrained.tensors, pretrained.path),
        tensors_of(Tuned(checkpoint).tensors, checkpoint),
        ticket.origin.sigma or 5e-5,
    )
    encoded = base64.b64encode(picture).decode()
    sections.append(
        f'<figure><img alt="Heat map of |Δ| per matrix" src="data:image/png;base64,{encoded}">'
        "<figcaption>|θ − θ0| of every matrix: input dimensions across, outputs down, the bias at "
        "the right edge. A dominated dimension is a vertical line.</figcaption></figure>"
    )
    return sections
