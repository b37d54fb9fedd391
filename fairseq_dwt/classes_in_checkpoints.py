"""What torch may build of a checkpoint beside tensors and plain values, and nothing else."""

from __future__ import annotations

import argparse
import sys
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch


def allow_fairseq_classes() -> None:
    """Let ``torch.load(weights_only=True)`` read the classes that fairseq checkpoints hold."""
    known: list[Any] = [argparse.Namespace, *_of_numpy()]
    if "fairseq" in sys.modules:
        # of speech tasks, whose checkpoints keep the letters
        known.append(import_module("fairseq.data.dictionary").Dictionary)
    torch.serialization.add_safe_globals(known)


@cache
def _of_numpy() -> tuple[Any, ...]:
    """What a number of numpy is made of: fairseq's own scores (F1, Pearson) are saved as such."""
    try:
        scalar = import_module("numpy._core.multiarray").scalar
    except ImportError:  # numpy 1
        scalar = import_module("numpy.core.multiarray").scalar

    def number(module: str) -> Any:
        def read(dtype: np.dtype[Any], value: bytes) -> Any:
            return scalar(dtype, value).item()

        read.__module__, read.__name__, read.__qualname__ = module, "scalar", "scalar"
        return read

    kinds = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    readers = (number("numpy._core.multiarray"), number("numpy.core.multiarray"))
    return (*readers, np.dtype, *(type(np.dtype(kind)) for kind in kinds))
