"""Ctrl-C and SIGTERM end a run after its current update, with a checkpoint to go on from.

Runs of several workers, and tasks of others, end as before. The task is told when training has
come to its end.
"""

import functools
import logging
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fairseq_cli.train
from fairseq import checkpoint_utils

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_stock_train = fairseq_cli.train.train
_stock_validate_and_save = fairseq_cli.train.validate_and_save

#: The signal that the epoch under way has been sent.
_received: list[int] = []


@functools.wraps(_stock_train)
def train(cfg: Any, trainer: Any, task: Any, epoch_itr: Any, *args: Any) -> Any:
    """An epoch; a signal that comes in it is noted."""
    # Several workers must stop at the same update; they end as fairseq ends them, at once.
    alone = trainer.data_parallel_world_size == 1
    if not (alone and getattr(task, "stops_when_told", False)):
        return _stock_train(cfg, trainer, task, epoch_itr, *args)
    with _signals_noted():
        losses, should_stop = _stock_train(cfg, trainer, task, epoch_itr, *args)
        late = _received[:1]  # it came after the epoch's last update
    if late and not _ends(cfg, epoch_itr, should_stop):
        name = signal.Signals(late[0]).name
        logger.warning(f"{name}: stopped after the epoch, at its last checkpoint")
        raise SystemExit(128 + late[0])
    return losses, should_stop


@functools.wraps(_stock_validate_and_save)
def validate_and_save(cfg: Any, trainer: Any, task: Any, epoch_itr: Any, *args: Any) -> Any:
    """After an update: what fairseq does, then the end that a signal asked for."""
    losses, should_stop = _stock_validate_and_save(cfg, trainer, task, epoch_itr, *args)
    if _received and not should_stop:
        checkpoint_utils.save_checkpoint(cfg.checkpoint, trainer, epoch_itr, None)
        name = signal.Signals(_received[0]).name
        kept = f"saved in {cfg.checkpoint.save_dir}; the same command goes on from there"
        for setting in ("no_save", "no_last_checkpoints", "no_save_optimizer_state"):
            if getattr(cfg.checkpoint, setting):
                kept = f"nothing to go on from was saved (checkpoint.{setting})"
        logger.warning(f"{name}: stopped after update {trainer.get_num_updates()}, {kept}")
        raise SystemExit(128 + _received[0])
    if _ends(cfg, epoch_itr, should_stop) and hasattr(task, "ended"):
        task.ended()
    return losses, should_stop


def _ends(cfg: Any, epoch_itr: Any, should_stop: bool) -> bool:
    """Whether training has come to its end by itself."""
    last_epoch = cfg.optimization.max_epoch or math.inf
    return should_stop or epoch_itr.next_epoch_idx > last_epoch


@contextmanager
def _signals_noted() -> Iterator[None]:
    """Note the first signal; the second one acts as it did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    # what is ignored, as under nohup, stays so
    before = {n: handler for n, handler in handlers.items() if handler is not signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _frame: Any) -> None:
        _received.append(number)
        restore()
        logger.warning(
            f"{signal.Signals(number).name}: stopping after this update; once more: at once"
        )

    _received.clear()
    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        restore()
        _received.clear()
