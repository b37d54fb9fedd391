"""GLUE's TSV files → the binary data sets that fairseq's ``sentence_prediction`` task reads.

Byte for byte what fairseq's recipe (``examples/roberta/preprocess_GLUE_tasks.sh``: BPE encoder,
then ``fairseq-preprocess``) writes, ``preprocess.log`` apart:

    OUT/RTE/input0/{dict.txt, train.bin, train.idx, valid.bin, …}
    OUT/RTE/input1/…                            sentence pairs only
    OUT/RTE/label/{dict.txt, train.bin, …}      STS-B: train.label, valid.label (score / 5, text)
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DwtError
from ..files import replacing_folder
from .bpe import Encoder, Items
from .indexed import items_at
from .labels import Labels
from .suite import GlueTask, Split
from .tsv import RowReader

if TYPE_CHECKING:
    from fairseq.data import Dictionary

_BATCH = 4000  # sentences encoded at once: enough for every core, little memory


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

    encode: one of `fairseq_dwt.glue.bpe`. dictionary: from `load_dictionary`.
    overwrite: replace an earlier output. note: takes a sentence about each absent optional file.

    Raises:
        DwtError: see `RowReader`; also an existing output without `overwrite`, or a label in a
            dev file that the train file does not have. An existing output is then as it was.
    """
    source = Path(glue_dir) / task.folder
    if not source.is_dir():
        raise DwtError(
            f"{source}: expected the folder with {task.folder}'s TSV files, there is none; "
            "download GLUE there or correct --glue-dir"
        )
    check_output(task, out_dir, overwrite)
    index = encode.indexer(dictionary)
    reports = []
    with replacing_folder(Path(out_dir) / task.folder) as partial:
        (partial / "label").mkdir()
        for side in range(task.num_inputs):
            (partial / f"input{side}").mkdir()
        dictionary.save(str(partial / "input0" / "dict.txt"))
        for side in range(1, task.num_inputs):
            shutil.copyfile(partial / "input0" / "dict.txt", partial / f"input{side}" / "dict.txt")
        labels = Labels(task, partial / "label")
        for split in task.splits:
            path = source / split.file
            if not split.required and not path.exists():
                note(f"{task.folder}: {path} is absent, so there will be no {split.name} split")
                continue
            reports.append(_write_split(partial, path, task, split, index, dictionary, labels))
    return reports


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


def _write_split(
    folder: Path,
    path: Path,
    task: GlueTask,
    split: Split,
    index: Callable[[Sequence[str]], Items],
    dictionary: Dictionary,
    labels: Labels,
) -> SplitReport:
    """In one pass over the file, of which a few thousand rows are in memory."""
    from tqdm import tqdm

    reader = RowReader(path, task, split)
    rows = tokens = unknown = 0
    with contextlib.ExitStack() as stack:
        # disable=None: no bar where stderr is no terminal
        bar = stack.enter_context(
            tqdm(
                total=path.stat().st_size if path.is_file() else None,
                desc=f"{task.folder} {split.name}",
                unit="B",
                unit_scale=True,
                leave=False,
                disable=None,
            )
        )
        add_label = stack.enter_context(labels.of(path, split))
        adders = [
            stack.enter_context(items_at(folder / f"input{side}" / split.name, dictionary))
            for side in range(task.num_inputs)
        ]

        def sentences() -> Iterator[list[str]]:
            """Of both sides in turn, so that a row's stand side by side."""
            nonlocal rows
            batch: list[str] = []
            for inputs, label in reader:
                # fairseq's recipe strips each line before it encodes it
                batch += [sentence.strip() for sentence in inputs]
                rows += 1
                if label is not None:
                    add_label(label)
                if len(batch) >= _BATCH:
                    yield batch
                    batch = []
            yield batch

        for items in _ahead(index, sentences()):
            side_of = np.arange(len(items.lengths)) % task.num_inputs
            side_of_token = np.repeat(side_of, items.lengths)
            for side, add in enumerate(adders):
                add(items.indices[side_of_token == side], items.lengths[side_of == side])
            tokens += len(items.indices)
            unknown += int((items.indices == dictionary.unk()).sum())
            bar.update(reader.bytes_read - bar.n)
    if unknown > tokens / 2:
        raise DwtError(
            f"{path}: expected tokens of the dictionary, got {unknown:,} of {tokens:,} that it "
            "does not have; name the dict.txt of the model whose tokenizer this is"
        )
    return SplitReport(
        task=task.folder,
        split=split.name,
        inputs=task.num_inputs,
        rows=rows,
        tokens=tokens,
        unknown=unknown,
        dropped=reader.dropped,
    )


def _ahead(
    function: Callable[[Sequence[str]], Items], batches: Iterator[list[str]]
) -> Iterator[Items]:
    """``map(function, batches)``, one batch ahead of who takes the results."""
    with ThreadPoolExecutor(1) as pool:
        coming = None
        for batch in batches:
            last, coming = coming, pool.submit(function, batch)
            if last is not None:
                yield last.result()
        if coming is not None:
            yield coming.result()
