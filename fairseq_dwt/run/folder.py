"""A run's folder: the name of every file in it, and its lock."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Mapping
from typing import IO, Any

from ..errors import DwtError

logger = logging.getLogger(__name__)

#: Hydra's.
CONFIG = os.path.join(".hydra", "config.yaml")
LOG = "hydra_train.log"
#: fairseq's.
CHECKPOINT_LAST = "checkpoint_last.pt"
CHECKPOINT_BEST = "checkpoint_best.pt"
#: What the run is (:mod:`~fairseq_dwt.run.same_run`).
RUN = "run.json"
#: Which process it belongs to.
LOCK = ".lock"
#: The ticket that stage 1 found, or that stage 2 trains inside of, cut to k; an element mask.
TICKET = "ticket.json"
ELEMENT_MASK = "ticket.safetensors"
#: m_σ of stage 1.
SIGMA_MASK = "sigma_mask.safetensors"
#: The ticket of the run's first batches, whole, by its method.
FOUND = {"oneshot": "oneshot.json", "forward": "forward.json"}
#: All columns that a moving slice has trained so far.
SLICES = "slices.json"
#: Of the best validation.
PREDICTIONS = "predictions.tsv"

#: Locks on run folders, which end with this process however it ends.
_held: dict[str, IO[str]] = {}


def ticket_in(folder: str) -> str | None:
    """Path of the ticket, or element mask, that a run left in its folder; None without one."""
    paths = [os.path.join(folder, name) for name in (TICKET, ELEMENT_MASK)]
    return next(filter(os.path.isfile, paths), None)


def launched(path: str) -> Mapping[str, Any]:
    """What a run.json says of the last launch that trained; nothing where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def hold(folder: str) -> None:
    """Let no other process run in this run's folder while this one lives.

    Raises:
        DwtError: another process runs there.
    """
    folder = os.path.abspath(folder)
    if folder in _held:
        return
    try:
        os.makedirs(folder, exist_ok=True)
        file = open(os.path.join(folder, LOCK), "a", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise DwtError(
            f"{folder}: expected a folder that can be written, got one that cannot "
            f"({error.strerror}); choose another hydra.run.dir (of another recipe: "
            "checkpoint.save_dir)"
        ) from None
    try:
        # the lock of a process, not of a file: workers that load data do not inherit it
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise DwtError(
            f"{folder}: expected a folder of one run, got one in which another process is running; "
            "wait for it, or choose another hydra.run.dir (of another recipe: checkpoint.save_dir)"
        ) from None
    except OSError as error:  # a file system without locks
        logger.warning(f"{folder}: not locked against a second run: {error}")
    _held[folder] = file
