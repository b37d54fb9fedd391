"""GLUE's TSV files → the binary data sets that fairseq's ``sentence_prediction`` task reads.

Byte for byte what fairseq's recipe (``examples/roberta/preprocess_GLUE_tasks.sh``: BPE encoder,
then ``fairseq-preprocess``) writes, ``preprocess.log`` apart:

    OUT/RTE/input0/{dict.txt, train.bin, train.idx, valid.bin, …}
    OUT/RTE/input1/…                            sentence pairs only
    OUT/RTE/label/{dict.txt, train.bin, …}      STS-B: train.label, valid.label (score / 5, text)
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from fairseq_dwt.errors import DwtError
from fairseq_dwt.files import replacing_folder
from fairseq_dwt.glue.encoders import Encoder
from fairseq_dwt.glue.tasks import GlueTask, Split
from fairseq_dwt.glue.tsv import Rows, read_rows

if TYPE_CHECKING:
    from fairseq.data import Dictionary

__all__ = ["SplitReport", "check_output", "load_dictionary", "preprocess_task"]

_BATCH = 2000  # sentences encoded at once: enough for every core, little memory


@dataclass(frozen=True)
class SplitReport:
    """What was written for one split.

    rows: examples, each of `inputs` sentences. tokens: over both sentences, end-of-sentence marks
    included (fairseq counts so). unknown: tokens that became ``<unk>``. dropped: malformed rows
    left out (QQP).
    """

    task: str
    split: str
    inputs: int
    rows: int
    tokens: int
    unknown: int
    dropped: int

    def __str__(self) -> str:
        return (
            f"{self.task} {self.split}: {self.rows} sentence{' pairs' if self.inputs == 2 else 's'}"
            f", {self.tokens} tokens, {self.unknown} unknown"
            f" ({100 * self.unknown / self.tokens:.2f} %), {self.dropped} rows dropped"
        )


def preprocess_task(
    task: GlueTask,
    glue_dir: str | Path,
    out_dir: str | Path,
    encode: Encoder,
    dictionary: Dictionary,
    overwrite: bool = False,
    note: Callable[[str], None] = print,
) -> list[SplitReport]:
    """Write ``OUT_DIR/FOLDER`` from ``GLUE_DIR/FOLDER``, whole or not at all.

    encode: one of `fairseq_dwt.glue.encoders`. dictionary: from `load_dictionary`.
    overwrite: replace an earlier output. note: takes a sentence about each absent optional file.

    Raises:
        DwtError: see `read_rows`; also an existing output without `overwrite`, or a label in a
            dev file that the train file does not have. An existing output is then as it was.
    """
    source = Path(glue_dir) / task.folder
    if not source.is_dir():
        raise DwtError(
            f"{source}: expected the folder with {task.folder}'s TSV files, there is none; "
            "download GLUE there or correct --glue-dir"
        )
    check_output(task, out_dir, overwrite)
    reports = []
    with replacing_folder(Path(out_dir) / task.folder) as partial:
        for side in range(task.num_inputs):
            (partial / f"input{side}").mkdir(parents=True)
            dictionary.save(str(partial / f"input{side}" / "dict.txt"))
        (partial / "label").mkdir()
        label_dictionary = None
        for split in task.splits:
            path = source / split.file
            if not split.required and not path.exists():
                note(f"{task.folder}: {path} is absent, so there will be no {split.name} split")
                continue
            rows = read_rows(path, task, split)
            tokens = Counter()  # type: Counter[str]
            for side, sentences in enumerate(rows.inputs):
                prefix = partial / f"input{side}" / split.name
                progress = f"{task.folder} {split.name} input{side}"
                tokens += _write_sentences(prefix, sentences, encode, dictionary, progress)
            if rows.labels and task.regression:
                _write_scores(partial / "label" / f"{split.name}.label", rows.labels)
            elif rows.labels:
                if label_dictionary is None:  # train comes first
                    label_dictionary = _label_dictionary(rows.labels)
                    label_dictionary.save(str(partial / "label" / "dict.txt"))
                _write_labels(partial / "label", path, split, rows, label_dictionary)
            reports.append(
                SplitReport(
                    task=task.folder,
                    split=split.name,
                    inputs=task.num_inputs,
                    rows=len(rows.inputs[0]),
                    tokens=tokens["all"],
                    unknown=tokens["unknown"],
                    dropped=rows.dropped,
                )
            )
    return reports


def load_dictionary(path: str | Path) -> Dictionary:
    """Read the pre-trained model's ``dict.txt``.

    Raises:
        DwtError: the file is missing, empty, or no fairseq dictionary.
    """
    from fairseq.data import Dictionary

    if not Path(path).is_file():
        raise DwtError(f"{path}: no such file; expected the dict.txt of the pre-trained model")
    try:
        dictionary = Dictionary.load(str(path))
    except Exception as error:  # fairseq raises bare Exception among others
        raise DwtError(
            f"{path}: expected a fairseq dictionary, '<token> <count>' on each line ({error}); "
            "take the dict.txt of the pre-trained model"
        ) from error
    if len(dictionary) == dictionary.nspecial:
        raise DwtError(f"{path}: expected a fairseq dictionary, got no token in it")
    return dictionary


def check_output(task: GlueTask, out_dir: str | Path, overwrite: bool) -> None:
    """Refuse an output folder that must not be replaced.

    Raises:
        DwtError: it exists and `overwrite` is False, or it holds something that this module
            never writes (``--out`` may point at the raw GLUE folder by mistake).
    """
    target = Path(out_dir) / task.folder
    try:
        present = sorted(os.listdir(target))
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise DwtError(
            f"{target}: expected a folder or nothing, got a file; move it away"
        ) from None
    strangers = [name for name in present if name not in {"input0", "input1", "label"}]
    if strangers:
        raise DwtError(
            f"{target} holds {strangers[0]!r}, which preprocessing never writes; "
            "choose another --out"
        )
    if present and not overwrite:
        raise DwtError(f"{target} exists already; add --overwrite to replace it")


def _write_sentences(
    prefix: Path, sentences: list[str], encode: Encoder, dictionary: Dictionary, progress: str
) -> Counter[str]:
    from tqdm import tqdm

    counts = Counter()  # type: Counter[str]
    unknown, end = dictionary.unk(), dictionary.eos()
    index_of = dictionary.indices.get
    # disable=None: no bar where stderr is no terminal.
    bar = tqdm(total=len(sentences), desc=progress, unit="sent", leave=False, disable=None)
    with bar, _builder(prefix, dictionary) as add:
        for start in range(0, len(sentences), _BATCH):
            # fairseq's recipe strips each line before it encodes it.
            batch = [sentence.strip() for sentence in sentences[start : start + _BATCH]]
            for line in encode(batch):
                # split() and not split(" "): a piece may hold odd white space, at which
                # fairseq-preprocess cuts it.
                ids = [index_of(token, unknown) for token in line.split()]
                counts["unknown"] += ids.count(unknown)
                ids.append(end)
                counts["all"] += len(ids)
                add(ids)
            bar.update(len(batch))
    return counts


def _write_labels(
    folder: Path, path: Path, split: Split, rows: Rows, dictionary: Dictionary
) -> None:
    with _builder(folder / split.name, dictionary) as add:
        for label in rows.labels:
            if label not in dictionary:
                raise DwtError(
                    f"{path}: label {label!r} does not occur in train.tsv, from which the label "
                    "dictionary is made; use a train.tsv that has every label"
                )
            add([dictionary.index(label), dictionary.eos()])


def _write_scores(path: Path, scores: list[str]) -> None:
    # awk's number format, which the recipe uses for score / 5.
    with open(path, "w", encoding="utf-8", newline="\n") as handle:
        handle.writelines(f"{float(score) / 5.0:.6g}\n" for score in scores)


def _label_dictionary(labels: list[str]) -> Dictionary:
    from fairseq.data import Dictionary

    dictionary = Dictionary()
    for label, count in Counter(labels).items():
        dictionary.add_symbol(label, count)
    # Most frequent first, ties by name, padded to a multiple of 8, as fairseq-preprocess does.
    dictionary.finalize(padding_factor=8)
    return dictionary


@contextmanager
def _builder(prefix: Path, dictionary: Dictionary) -> Iterator[Callable[[list[int]], None]]:
    """fairseq's memory-mapped data set at `prefix`, as a function that appends one item."""
    import torch
    from fairseq.data import indexed_dataset

    builder = indexed_dataset.make_builder(
        indexed_dataset.data_file_path(str(prefix)), impl="mmap", vocab_size=len(dictionary)
    )
    yield lambda ids: builder.add_item(torch.tensor(ids, dtype=torch.int32))
    builder.finalize(indexed_dataset.index_file_path(str(prefix)))
