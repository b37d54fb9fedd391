"""Starting from files that fairseq's trainer would stop at.

Names of a model that was saved inside a data-parallel wrapper (``module.…``) lose that prefix, and
a run with a moving average (EMA) finds one to begin with.
"""

import functools
from typing import Any

from fairseq import checkpoint_utils

_WRAPPER = "module."
_stock_load_checkpoint_to_cpu = checkpoint_utils.load_checkpoint_to_cpu
_stock_load_checkpoint = checkpoint_utils.load_checkpoint


@functools.wraps(_stock_load_checkpoint_to_cpu)
def load_checkpoint_to_cpu(*args: Any, **kwargs: Any) -> Any:
    """A checkpoint's dictionary."""
    state = _stock_load_checkpoint_to_cpu(*args, **kwargs)
    names = list(state["model"])
    if names and all(name.startswith(_WRAPPER) for name in names):
        state["model"] = {name[len(_WRAPPER) :]: state["model"][name] for name in names}
    if state.get("extra_state") is not None:
        # fairseq means to begin the average at the file's weights, but has deleted them by then and
        # stops with ``KeyError: 'model'``
        state["extra_state"].setdefault("ema", state["model"])
    return state


@functools.wraps(_stock_load_checkpoint)
def load_checkpoint(*args: Any, **kwargs: Any) -> Any:
    """The trainer's state; without the average, the size of the model, which no one reads again."""
    extra_state, iterator = _stock_load_checkpoint(*args, **kwargs)
    if extra_state is not None:
        for name in ("ema", "ema_fp32_params"):
            extra_state.pop(name, None)
    return extra_state, iterator
