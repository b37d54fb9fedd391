"""A run ends with the sentence of a :class:`DwtError` in a worker that fairseq spawned, one a GPU.

torch hands a worker's error to the process that spawned it as the text of a traceback, so the one
name that starts fairseq's workers is replaced; every other error goes through it as before.
"""

import functools
import os
import re
from typing import Any

from fairseq.distributed import utils
from torch.multiprocessing import ProcessRaisedException

from ..errors import DwtError

__all__ = ["tell_workers_errors"]

_stock_call_main = utils.call_main
_SENTENCE = re.compile(rf"^{DwtError.__module__}\.{DwtError.__name__}: (.*)$", re.MULTILINE)


def tell_workers_errors() -> None:
    """Have ``fairseq.distributed.utils.call_main`` behave as said above."""
    utils.call_main = _call_main


@functools.wraps(_stock_call_main)
def _call_main(cfg: Any, main: Any, **kwargs: Any) -> Any:
    try:
        return _stock_call_main(cfg, main, **kwargs)
    except ProcessRaisedException as error:
        told = _SENTENCE.search(str(error))
        if told is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        raise DwtError(told.group(1)) from None
