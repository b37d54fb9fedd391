"""GLUE's TSV files, read strictly: tabs separate, only a line feed ends a row, quotes are text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import DwtError
from .suite import GlueTask, Split, Tsv

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass
class Rows:
    """One split in memory.

    inputs: one list per sentence column, each of length (rows,).
    labels: length (rows,), validated label strings; empty for a split without labels.
        STS-B: the score as it stands in the file, a number in [0, 5].
    dropped: number of rows left out because they had a wrong number of fields (QQP).
    """

    inputs: list[list[str]]
    labels: list[str]
    dropped: int = 0


def read_rows(path: str | Path, task: GlueTask, split: Split) -> Rows:
    """Read and validate one TSV file.

    Raises:
        DwtError: see `RowReader`.
    """
    reader = RowReader(path, task, split)
    rows = Rows(inputs=[[] for _ in split.table.inputs], labels=[])
    for sentences, label in reader:
        for column, sentence in zip(rows.inputs, sentences):
            column.append(sentence)
        if label is not None:
            rows.labels.append(label)
    rows.dropped = reader.dropped
    return rows


class RowReader:
    """The rows of one TSV file in turn, validated: ``(sentences, label)``.

    sentences: of length 1 or 2. label: None for a split without labels; see `Rows`.

    Attributes:
        dropped: number of rows left out so far (QQP).
        bytes_read: of the file so far.

    Raises:
        DwtError: naming file, line and expectation: missing file or column, wrong number of
            fields, unknown label, no rows, not UTF-8.
    """

    def __init__(self, path: str | Path, task: GlueTask, split: Split) -> None:
        self.path = Path(path)
        self.task = task
        self.table = split.table
        self.dropped = 0
        self.bytes_read = 0

    def __iter__(self) -> Iterator[tuple[list[str], str | None]]:
        path, task, table = self.path, self.task, self.table
        fields_per_row = len(table.columns)
        input_at = [table.columns.index(name) for name in table.inputs]
        label_at = None if table.label is None else table.columns.index(table.label)
        may_drop = task.drops_malformed and label_at is not None
        label, empty = None, True

        lines = self._lines()
        if table.has_header:
            for _, line in lines:
                _check_header(path, line, task, table)
                break
        for number, line in lines:
            fields = line.split("\t")
            if len(fields) != fields_per_row:
                if may_drop:
                    self.dropped += 1
                    continue
                raise DwtError(
                    f"{path} line {number}: expected {fields_per_row} tab-separated fields "
                    f"({', '.join(table.columns)}), got {len(fields)}; repair or remove the line"
                )
            if label_at is not None:
                label = fields[label_at].strip()
                if not _is_label(label, task):
                    raise DwtError(
                        f"{path} line {number}: expected {_expected_label(task)} in column "
                        f"{label_at + 1} ({table.label}), got {label[:60]!r}; repair the line"
                    )
            empty = False
            yield [fields[column] for column in input_at], label
        if empty:
            raise DwtError(
                f"{path}: expected at least one {task.folder} row, got none"
                + (f" ({self.dropped} malformed ones dropped)" if self.dropped else "")
                + "; fetch the file again"
            )

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Line number and text of each line, without line end (LF or CRLF) and byte order mark."""
        path = self.path
        if not path.is_file():
            raise DwtError(
                f"{path}: expected a GLUE file, there is none; download GLUE or repair it"
            )
        with open(path, "rb") as handle:
            for number, text, size in text_lines(handle, str(path)):
                yield number, text
                self.bytes_read += size


def text_lines(handle: BinaryIO, where: str) -> Iterator[tuple[int, str, int]]:
    """Number, text and bytes of each line, without its end (LF or CRLF) and byte order mark.

    Raises:
        DwtError: a line is not UTF-8; ``where`` names the file.
    """
    before = 0
    # Binary files end lines at \n only; text mode and str.splitlines would also cut
    # sentences at \r, or at \x0b, U+0085, U+2028 and others.
    for number, raw in enumerate(handle, start=1):
        line = raw[:-1] if raw.endswith(b"\n") else raw
        line = line[:-1] if line.endswith(b"\r") else line
        if number == 1 and line.startswith(_BYTE_ORDER_MARK):
            line = line[len(_BYTE_ORDER_MARK) :]
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            position = before + raw.index(line) + error.start
            raise DwtError(
                f"{where} line {number}: expected UTF-8, got byte "
                f"0x{line[error.start]:02x} at byte offset {position}; convert it to UTF-8"
            ) from error
        yield number, text, len(raw)
        before += len(raw)


def _check_header(path: Path, line: str, task: GlueTask, table: Tsv) -> None:
    header = [name.strip() for name in line.split("\t")]
    expected = f"{len(table.columns)} column names ({', '.join(table.columns)})"
    if len(header) != len(table.columns):
        raise DwtError(
            f"{path} line 1: expected {expected}, got {len(header)}: {line[:80]!r}; "
            "use the file in GLUE's official layout"
        )
    used = table.inputs if table.label is None else table.inputs + (table.label,)
    for name in used:
        position = table.columns.index(name)
        if header[position] != name and name in header:
            raise DwtError(
                f"{path} line 1: expected {name!r} in column {position + 1}, got it in column "
                f"{header.index(name) + 1}; use the file in GLUE's official layout"
            )
    label = None if table.label is None else header[table.columns.index(table.label)]
    if not set(header) & set(table.columns) or (label is not None and _is_label(label, task)):
        raise DwtError(
            f"{path} line 1: expected {expected}, got a row of data; add the header line, "
            "else the first row would be lost"
        )


def _is_label(text: str, task: GlueTask) -> bool:
    if not task.regression:
        return text in task.labels
    try:
        return 0.0 <= float(text) <= 5.0
    except ValueError:
        return False


def _expected_label(task: GlueTask) -> str:
    return "a score from 0 to 5" if task.regression else f"one of {', '.join(task.labels)}"
