"""A document as files: one self-contained HTML page, Markdown, JSON, and the pictures."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from string import Template

from ..files import replacing
from ..version import __version__
from .document import Document, Figure, Picture, Table

_PAGE = Template(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Dominant winning ticket</title>
<style>
:root { color-scheme: light dark; --ink: #1f2328; --faint: #d0d7de; --soft: #59636e;
  --paper: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --faint: #3d444d; --soft: #9198a1; --paper: #0d1117; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--faint); padding-bottom: .2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0 .25rem; font-size: .875rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--faint); }
th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; }
figcaption, .note, footer { color: var(--soft); font-size: .875rem; }
footer { margin-top: 3rem; }
mark { color: inherit; border-radius: .2rem; padding: 0 .2rem; }
$marks
</style>
<h1>Dominant winning ticket</h1>
$sections
<footer>fairseq_dwt $version. Beside this page: report.md, report.json, figures/.</footer>
</html>
"""
)
#: Okabe and Ito's colours, laid thinly over either background; the last is the bias's.
_MARKS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")
#: Larger than on paper, so that the small print is the page's.
_PIXELS_PER_INCH = 125


def write_report(folder: str, document: Document) -> list[str]:
    """Write ``index.html``, ``report.md``, ``report.json`` and ``figures/``; each file whole.

    Args:
        folder: made where it does not exist.
        document: what to write.

    Returns:
        the paths written.
    """
    files = {
        "index.html": _html(document),
        "report.md": _markdown(document),
        "report.json": json.dumps(document.data, indent=1, ensure_ascii=False) + "\n",
    }
    written = []
    for figure in _figures(document):
        for suffix, picture in (("", figure.light), ("-dark", figure.dark)):
            for extension, content in (("png", picture.png), ("svg", picture.svg)):
                path = os.path.join(folder, "figures", f"{figure.name}{suffix}.{extension}")
                with replacing(path) as temporary, open(temporary, "wb") as file:
                    file.write(content)
                written.append(path)
    for name, text in files.items():
        path = os.path.join(folder, name)
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        written.append(path)
    return written


def _figures(document: Document) -> list[Figure]:
    return [s for section in document.sections for s in section.shown if isinstance(s, Figure)]


# -- HTML -----------------------------------------------------------------------------------------


def _html(document: Document) -> str:
    parts = []
    for section in document.sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        parts += [f"<p>{html.escape(text)}</p>" for text in section.text]
        parts += [_html_of(shown) for shown in section.shown]
    marks = "\n".join(
        f"mark.m{number} {{ background: {colour}66; }}" for number, colour in enumerate(_MARKS)
    )
    return _PAGE.substitute(sections="\n".join(parts), marks=marks, version=__version__)


def _html_of(shown: Table | Figure) -> str:
    if isinstance(shown, Figure):
        return (
            f'<figure id="{shown.name}"><picture>'
            f'<source media="(prefers-color-scheme: dark)" srcset="{_data(shown.dark)}">'
            f'<img width="{round(_PIXELS_PER_INCH * shown.width)}" '
            f'alt="{html.escape(shown.caption)}" src="{_data(shown.light)}">'
            f"</picture><figcaption>{html.escape(shown.caption)}</figcaption></figure>"
        )
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in shown.header)
    lines = [f"<tr>{head}</tr>"]
    for row in shown.rows:
        lines.append("<tr>" + "".join(f"<td>{_marked(cell, shown)}</td>" for cell in row) + "</tr>")
    note = f'<p class="note">{html.escape(shown.note)}</p>' if shown.note else ""
    body = "\n".join(lines)
    return f'<div class="wide" id="{shown.name}"><table>\n{body}\n</table></div>{note}'


def _marked(cell: str, table: Table) -> str:
    if not table.marks:
        return html.escape(cell)
    words = []
    for word in cell.split(" "):
        number = table.marks.get(word)
        text = html.escape(word)
        words.append(text if number is None else f'<mark class="m{number}">{text}</mark>')
    return " ".join(words)


def _data(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.png).decode()


# -- Markdown -------------------------------------------------------------------------------------


def _markdown(document: Document) -> str:
    lines = ["# Dominant winning ticket", ""]
    for section in document.sections:
        lines += [f"## {section.title}", ""]
        for text in section.text:
            lines += [text, ""]
        for shown in section.shown:
            if isinstance(shown, Figure):
                lines += [f"![{shown.caption}](figures/{shown.name}.png)", "", shown.caption, ""]
            else:
                lines += [*_markdown_table(shown), ""] + ([shown.note, ""] if shown.note else [])
    return "\n".join(lines).rstrip("\n") + "\n"


def _markdown_table(table: Table) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(re.sub(r"([|\\*])", r"\\\1", cell) for cell in cells) + " |"

    rule = "|---|" + "---:|" * (len(table.header) - 1)
    return [line(list(table.header)), rule, *(line(list(row)) for row in table.rows)]
