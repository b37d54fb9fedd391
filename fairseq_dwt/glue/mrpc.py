"""MRPC, which GLUE's server does not have: rebuilt of Microsoft's files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import DwtError


def rebuild_mrpc(train: Path, test: Path, dev_ids: Path, target: Path) -> None:
    """GLUE's MRPC of Microsoft's two files, as GLUE's own download script makes it.

    Rows whose pair of ids is in ``dev_ids`` are the dev set; the test set gets an index and loses
    its labels. Quotes are text. Train and dev keep the byte order mark that Microsoft's header has.
    """
    dev = {tuple(line.split("\t")) for line in _lines(dev_ids)}
    header, *rows = _lines(train)
    found = 0
    with _writer(target / "train.tsv") as to_train, _writer(target / "dev.tsv") as to_dev:
        to_train(header)
        to_dev(header)
        for row in rows:
            in_dev = tuple(_fields(train, row)[1:3]) in dev
            found += in_dev
            (to_dev if in_dev else to_train)(row)
    if found != len(dev):
        raise DwtError(f"{train}: expected the {len(dev)} pairs of {dev_ids.name}, got {found}")
    with _writer(target / "test.tsv") as to_test:
        to_test("index\t#1 ID\t#2 ID\t#1 String\t#2 String")
        for index, row in enumerate(_lines(test)[1:]):
            to_test("\t".join([str(index), *_fields(test, row)[1:]]))


def _fields(path: Path, row: str) -> list[str]:
    fields = row.split("\t")
    if len(fields) != 5:
        raise DwtError(f"{path}: expected 5 fields in each row, got {len(fields)} in {row[:60]!r}")
    return fields


def _lines(path: Path) -> list[str]:
    # only a line feed ends a row; Windows line ends go
    rows = path.read_bytes().decode("utf-8").split("\n")
    return [row.strip(" \r") for row in rows if row.strip()]


@contextlib.contextmanager
def _writer(path: Path) -> Iterator[Callable[[str], None]]:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        yield lambda row: print(row, file=file)
