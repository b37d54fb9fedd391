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
