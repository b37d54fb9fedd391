"""Launching a run again: what fairseq forgets between two launches."""

import logging
import os
import zipfile
from typing import Any

import fairseq_cli.train
from fairseq import checkpoint_utils
from omegaconf import DictConfig, open_dict

from ..checkpoint import load_checkpoint
from ..errors import DwtError
from ..train import halves
from .folder import CHECKPOINT_LAST

logger = logging.getLogger(__name__)

_EARLY_STOPPING = "early_stopping"
_NO_EPOCH = -1


def early_stopping_state() -> dict[str, Any]:
    """fairseq's patience count, which it does not save: for the task's state in a checkpoint."""
    function = fairseq_cli.train.should_stop_early
    names = ("best", "num_runs")
    return {_EARLY_STOPPING: {n: getattr(function, n) for n in names if hasattr(function, n)}}


def resume(root: DictConfig) -> dict[str, Any] | None:
    """Put back what fairseq keeps on its functions, and do not train on where a run has ended.

    In a multirun the functions still hold the last job's values; after a restart they hold none.
    fairseq looks at ``max_update`` only after an update, so a finished run would make one more.

    Returns:
        what the checkpoint keeps of half-precision training (``halves.state``),
        and its ``num_updates``; None where there is none.

    Raises:
        DwtError: the run has not ended, and its checkpoint is damaged or has no optimizer state.
    """
    stop_early = fairseq_cli.train.should_stop_early
    for function in (checkpoint_utils.save_checkpoint, stop_early):
        for name in ("best", "num_runs"):
            if hasattr(function, name):
                delattr(function, name)
    path = checkpoint_to_resume(root)
    if path is None:
        return None
    _check_records(path)
    state = load_checkpoint(path)
    kept = state.get("task_state") or {}
    early = kept.get(_EARLY_STOPPING, {})
    for name, value in early.items():
        setattr(stop_early, name, value)
    updates = (state.get("optimizer_history") or [{}])[-1].get("num_updates", 0)
    patience, max_update = root.checkpoint.patience, root.optimization.max_update
    # fairseq counts from 0 again where it resets the optimizer or the data
    counted = 0 if root.checkpoint.reset_optimizer else updates
    extra = state.get("extra_state") or {}
    epoch = (extra.get("train_iterator") or {}).get("epoch", 1)
    last_epoch = root.optimization.max_epoch
    hours = extra.get("previous_training_time", 0) / 3600
    ended = 0 < max_update <= counted or 0 < patience <= early.get("num_runs", 0)
    ended = ended or 0 < root.optimization.stop_time_hours < hours
    if ended or (0 < last_epoch < epoch and not root.checkpoint.reset_dataloader):
        logger.info(f"this run has finished already, after {updates} updates: {path}")
        with open_dict(root.optimization):
            # fairseq's epochs start at 1, and 0 would mean no limit
            root.optimization.max_epoch = _NO_EPOCH
        return None
    if "last_optimizer_state" not in state and not root.checkpoint.reset_optimizer:
        raise DwtError(
            f"{os.path.abspath(path)}: expected the optimizer's state to go on from, found none "
            "(checkpoint.no_save_optimizer_state); choose another hydra.run.dir (of another "
            "recipe: checkpoint.save_dir), or remove the file to begin again"
        )
    if halves.KEY in kept:
        return {**kept[halves.KEY], "num_updates": updates}
    common = root.common
    inside_ticket = "fp32_copies" in (state.get("last_optimizer_state") or {})
    if common.fp16 or (common.bf16 and not inside_ticket):
        logger.warning(
            f"{path}: keeps no fp32 copies of the weights, or not how its loss scale grows, as "
            "fairseq's own checkpoints and those before fairseq_dwt 0.1: the run goes on, but not "
            "bit for bit as if it had not been interrupted"
        )
    return None


def has_finished(root: DictConfig) -> bool:
    """Whether :func:`resume` has found that the run in this folder trains no more."""
    return bool(root.optimization.max_epoch == _NO_EPOCH)


def check_precision(root: DictConfig) -> None:
    """Refuse to go on in fp32 where a run began in half precision, or the reverse.

    fairseq's optimizers of the two are not the same, and it says so by an assertion.

    Raises:
        DwtError: they differ.
    """
    last = checkpoint_to_resume(root)
    if last is None or root.checkpoint.reset_optimizer:
        return
    history = (load_checkpoint(last).get("optimizer_history") or [{}])[-1]
    half = bool(root.common.fp16 or root.common.bf16)
    began_half = "FP16" in str(history.get("optimizer_name", ""))
    if "optimizer_name" in history and half != began_half:
        words = {True: "fp16 or bf16", False: "fp32"}
        raise DwtError(
            f"{os.path.abspath(last)}: expected a run that goes on in {words[began_half]}, in "
            f"which it began, got {words[half]}; set common.fp16 or common.bf16 as at its first "
            "launch, or choose another hydra.run.dir (of another recipe: checkpoint.save_dir)"
        )


def checkpoint_to_resume(root: DictConfig) -> str | None:
    """The checkpoint that fairseq will resume from, if any."""
    checkpoint = root.checkpoint
    path = os.path.join(checkpoint.save_dir, CHECKPOINT_LAST)
    if checkpoint.restore_file != CHECKPOINT_LAST or not os.path.isfile(path):
        return None
    return path


def _check_records(path: str) -> None:
    """Compare a checkpoint's records with their checksums, which torch does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile:  # load_checkpoint says what it is
        return
    if damaged is not None:
        raise DwtError(
            f"{os.path.abspath(path)}: {damaged}: expected the content that its checksum was made "
            "of, got another; the file is damaged: put another checkpoint of this run in its "
            "place, or remove it to begin again"
        )
