"""fairseq's dictionaries and memory-mapped data sets on file."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DwtError

if TYPE_CHECKING:
    from fairseq.data import Dictionary


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


#: The first bytes of an index: its format, version, type of a token, and number of items.
_MAGIC, _HEADER = b"MMIDIDX\x00\x00", 26


def check_whole(folder: str | Path) -> None:
    """Refuse a data-bin folder of which a file is cut short, as by a copy that stopped.

    Args:
        folder: with a folder for each input and one for the labels.

    Raises:
        DwtError: a memory-mapped data set's index or tokens are too short.
    """
    from fairseq.data import indexed_dataset

    for index in sorted(Path(folder).glob("*/*.idx")):
        with open(index, "rb") as file:
            head = file.read(_HEADER)
        if not head.startswith(_MAGIC[: len(head)]):
            continue  # another of fairseq's formats
        items = int.from_bytes(head[18:], "little")
        # a length of four bytes and a place of eight for each item
        _check_size(index, _HEADER + 12 * items if len(head) == _HEADER else _HEADER)
        tokens = index.with_suffix(".bin")
        if items and tokens.is_file():
            read = indexed_dataset.MMapIndexedDataset.Index(str(index))
            place, length = read[items - 1]
            _check_size(tokens, int(place + length * read.dtype().itemsize))


def _check_size(path: Path, expected: int) -> None:
    size = path.stat().st_size
    if size < expected:
        raise DwtError(
            f"{path}: expected {expected:,} bytes, got {size:,}: the file is cut short; copy it "
            "again, or make it again with preprocess.py"
        )


@contextlib.contextmanager
def items_at(
    prefix: Path, dictionary: Dictionary
) -> Iterator[Callable[[np.ndarray, np.ndarray], None]]:
    """fairseq's memory-mapped data set at `prefix`, as a function that appends items.

    It takes their indices, (tokens,), and their lengths, (items,).
    """
    from fairseq.data import indexed_dataset

    dtype = indexed_dataset.best_fitting_int_dtype(len(dictionary))
    lengths = array("I")
    with open(indexed_dataset.data_file_path(str(prefix)), "wb") as file:

        def add(indices: np.ndarray, more: np.ndarray) -> None:
            file.write(indices.astype(dtype).tobytes())
            lengths.extend(more.tolist())

        yield add
    path = indexed_dataset.index_file_path(str(prefix))
    with indexed_dataset.MMapIndexedDataset.Index.writer(path, dtype) as writer:
        writer.write(lengths)
