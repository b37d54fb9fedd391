"""Text to predict on: one example a line, read as preprocessing reads a GLUE file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from ..errors import DwtError
from .suite import TASKS, GlueTask, glue_task
from .tsv import text_lines

_HINT = "give the sentences alone (--glue-test reads GLUE's test files as they are)"


def sentences_of(
    task_name: str | None, recorded: int | None, asked: GlueTask | None, where: str
) -> int | None:
    """Sentences of an example, 1 or 2; None where neither the delta nor the user says.

    Args:
        task_name: of the delta.
        recorded: number of sentences that the delta records.
        asked: the task that the user names.
        where: the delta's file.

    Raises:
        DwtError: the user names a task with another number of sentences than the delta's.
    """
    known = recorded
    if known is None and task_name is not None:
        with contextlib.suppress(DwtError):  # a task of the user's own
            known = glue_task(task_name).num_inputs
    if asked is not None and known not in (None, asked.num_inputs):
        raise DwtError(
            f"--task: expected a task of {_sentences(known or 1)} as {where} was trained on "
            f"({task_name or 'unnamed'}), got {asked.folder}; leave --task out or name its delta"
        )
    return asked.num_inputs if known is None and asked is not None else known


def read_examples(
    path: str | None, sentences: int | None, labels: Sequence[str], regression: bool
) -> list[list[str]]:
    """Examples of one sentence, or of two separated by a tab.

    Args:
        path: file to read; None is standard input.
        sentences: of an example; None takes what the first line has.
        labels: of the task, by which a column of labels is known.
        regression: whether the task's labels are numbers.

    Raises:
        DwtError: naming the line: not UTF-8, another number of fields, the header of a GLUE file,
            a column of labels or of row numbers.
    """
    where = path or "standard input"
    if path is None:
        lines = [text for _, text, _ in text_lines(sys.stdin.buffer, where)]
    else:
        with open(path, "rb") as file:
            lines = [text for _, text, _ in text_lines(file, where)]
    examples = [line.split("\t") for line in lines]
    if examples and _is_header(examples[0]):
        raise DwtError(
            f"{where} line 1: expected {_sentences(sentences or 1)}, got the header of a GLUE "
            f"file, {lines[0][:60]!r}; {_HINT}"
        )
    wanted = sentences or (min(len(examples[0]), 2) if examples else 1)
    for number, example in enumerate(examples, start=1):
        if len(example) != wanted:
            raise DwtError(
                f"{where} line {number}: expected {_sentences(wanted)}, got {len(example)} "
                f"fields; {_HINT}"
            )
    if wanted == 2 and examples:
        _refuse_columns(where, examples, labels, regression)
    return examples


def _sentences(number: int) -> str:
    return "1 sentence" if number == 1 else f"{number} sentences separated by a tab"


def _is_header(fields: Sequence[str]) -> bool:
    """Whether the fields are the columns of a GLUE file, or its sentences' columns alone."""
    names = tuple(field.strip() for field in fields)
    tables = [split.table for task in TASKS.values() for split in task.splits]
    return any(
        names == table.columns or (names == table.inputs and table.has_header) for table in tables
    )


def _refuse_columns(
    where: str, examples: list[list[str]], labels: Sequence[str], regression: bool
) -> None:
    first, second = ([field.strip() for field in column] for column in zip(*examples))
    if all(_is_label(field, labels, regression) for field in second):
        raise DwtError(
            f"{where} line 1: expected {_sentences(2)}, got the label {second[0]!r} in place of "
            f"the second, as in every line; {_HINT}"
        )
    start = int(first[0]) if first[0].isdecimal() else None
    numbers = [] if start is None else [str(start + row) for row in range(len(first))]
    if len(first) > 1 and first == numbers:
        raise DwtError(
            f"{where} line 1: expected {_sentences(2)}, got the row number {first[0]!r} in place "
            f"of the first, as in every line; {_HINT}"
        )


def _is_label(text: str, labels: Sequence[str], regression: bool) -> bool:
    if not regression:
        return text in labels
    try:
        return 0.0 <= float(text) <= 5.0
    except ValueError:
        return False
