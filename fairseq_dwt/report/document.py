"""What a report consists of, before it is a page: sections of text, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        name: file name stem and anchor, ``table2``.
        header: column titles.
        rows: the cells, as many in each row as the header has.
        note: a sentence below.
        marks: ``{word: colour number}``: words in cells that are coloured (popular dimensions).
    """

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    marks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """One drawing on one background."""

    png: bytes
    svg: bytes


@dataclass(frozen=True)
class Figure:
    """A figure, drawn for light and for dark backgrounds.

    Attributes:
        name: file name stem and anchor, ``figure3``.
        caption: what is seen.
        width: in inches, as it would stand in a paper.
        light: for light backgrounds. dark: for dark ones.
    """

    name: str
    caption: str
    width: float
    light: Picture
    dark: Picture


@dataclass(frozen=True)
class Section:
    """A title, paragraphs, and what is shown."""

    title: str
    text: Sequence[str]
    shown: Sequence[Table | Figure]


@dataclass
class Document:
    """A report.

    Attributes:
        sections: in reading order.
        data: the figures behind it, for JSON.
    """

    sections: list[Section] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
