"""A run ends with the sentence of a :class:`DwtError` in a worker that fairseq spawned, one a GPU.

torch hands a worker's error to the process that spawned it as the text of a traceback; every other
error stays as it is. The first process of fairseq-hydra-train does not import a user dir: there
hydra_plugins/fairseq_dwt_search_path does the same.
"""

import functools
import os
import re
from typing import Any

from fairseq.distributed import utils
from torch.multiprocessing import ProcessRaisedException

from ..errors import DwtError

_stock_call_main = utils.call_main
_SENTENCE = re.compile(rf"^{DwtError.__module__}\.{DwtError.__name__}: (.*)$", re.MULTILINE)


@functools.wraps(_stock_call_main)
def call_main(cfg: Any, main: Any, **kwargs: Any) -> Any:
    """Launch ``main``, in this process or in workers."""
    try:
        return _stock_call_main(cfg, main, **kwargs)
    except ProcessRaisedException as error:
        told = _SENTENCE.search(str(error))
        if told is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        raise DwtError(told.group(1)) from None
