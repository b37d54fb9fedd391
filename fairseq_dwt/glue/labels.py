"""A task's labels as fairseq reads them: a dictionary by frequency, or numbers as text."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DwtError
from .indexed import items_at
from .suite import GlueTask, Split

if TYPE_CHECKING:
    from fairseq.data import Dictionary


class Labels:
    """Writes OUT/TASK/label, a byte of memory for each row."""

    def __init__(self, task: GlueTask, folder: Path) -> None:
        self.task = task
        self.folder = folder
        self.dictionary: Dictionary | None = None  # of the train split, which comes first

    @contextlib.contextmanager
    def of(self, path: Path, split: Split) -> Iterator[Callable[[str], None]]:
        """A function that takes the label of each row in turn."""
        if split.table.label is None:
            yield lambda label: None
        elif self.task.regression:
            target = self.folder / f"{split.name}.label"
            with open(target, "w", encoding="utf-8", newline="\n") as file:
                # awk's number format, which the recipe uses for score / 5
                yield lambda score: print(f"{float(score) / 5.0:.6g}", file=file)
        else:
            codes = bytearray()
            code_of = {label: code for code, label in enumerate(self.task.labels)}
            yield lambda label: codes.append(code_of[label])
            self._write(path, split, np.frombuffer(codes, dtype=np.uint8))

    def _write(self, path: Path, split: Split, codes: np.ndarray) -> None:
        names, firsts, counts = np.unique(codes, return_index=True, return_counts=True)
        if self.dictionary is None:
            found = sorted(zip(firsts, names, counts))  # in the order in which they appear
            self.dictionary = _label_dictionary(
                {self.task.labels[code]: int(count) for _, code, count in found}
            )
            self.dictionary.save(str(self.folder / "dict.txt"))
        dictionary = self.dictionary
        for code in names:
            if self.task.labels[code] not in dictionary:
                raise DwtError(
                    f"{path}: label {self.task.labels[code]!r} does not occur in train.tsv, from "
                    "which the label dictionary is made; use a train.tsv that has every label"
                )
        indices = np.array([dictionary.index(label) for label in self.task.labels])
        ends = np.full(len(codes), dictionary.eos())
        with items_at(self.folder / split.name, dictionary) as add:
            add(np.stack([indices[codes], ends], axis=1).ravel(), np.full(len(codes), 2))


def _label_dictionary(counts: dict[str, int]) -> Dictionary:
    from fairseq.data import Dictionary

    dictionary = Dictionary()
    for label, count in counts.items():
        dictionary.add_symbol(label, count)
    # Most frequent first, ties by name, padded to a multiple of 8, as fairseq-preprocess does.
    dictionary.finalize(padding_factor=8)
    return dictionary
