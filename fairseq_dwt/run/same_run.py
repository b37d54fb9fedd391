"""A run's folder is one run: what was launched there first is compared at every launch.

``run.json`` keeps what makes two launches the same run. Updates, epochs, batch size, workers, σ and
logging are not in it: they may change between launches, as in fairseq. So may learning rate and
seed, of which the last launch that trained is kept.
"""

import hashlib
import json
import logging
import os
from typing import Any

from fairseq.distributed.utils import is_master
from omegaconf import DictConfig, OmegaConf

from ..checkpoint import load_checkpoint
from ..errors import DwtError
from ..files import replacing
from ..glue.suite import task_of_folder
from ..ticket import AnyTicket, load_ticket
from .folder import PREDICTIONS, RUN, ticket_in
from .resume import checkpoint_to_resume, has_finished

logger = logging.getLogger(__name__)

#: How an error calls what differs.
_WORDS = {
    "base": "the pre-trained model",
    "task": "the data of task",
    "labels": "the labels, in this order,",
    "dictionary": "the data's dictionary",
    "method": "the method",
    "ticket": "the ticket",
    "l1_lambda": "criterion.l1_lambda",
    "move_every": "optimizer.move_every",
    "settings": "the settings ticket.*",
}


def check_same_run(task: Any, ticket: AnyTicket | None = None) -> None:
    """Refuse a folder that has another run's checkpoints or scores, or keep in it what this run is.

    Args:
        task: a :class:`~fairseq_dwt.tasks._from_pretrained.FromPretrainedTask`.
        ticket: that it trains inside of, cut to k.

    Raises:
        DwtError: the run folder's checkpoints or predictions belong to another run.
    """
    root = task.root
    path = os.path.abspath(os.path.join(root.checkpoint.save_dir, RUN))
    now = _record(task, ticket)
    last = checkpoint_to_resume(root)
    scored = os.path.isfile(os.path.join(root.checkpoint.save_dir, PREDICTIONS))
    earlier: dict[str, Any] = {}
    if os.path.isfile(path) and (last is not None or scored):
        earlier = _read(path)
    elif last is not None:
        earlier = _record_of_before(root, last, now)
    for key, value in now.items():
        if key in earlier and earlier[key] != value:
            raise DwtError(
                f"{path}: expected {_WORDS[key]} {_told(earlier[key])} of the run that is here, "
                f"got {_told(value)}; choose another hydra.run.dir, or remove that run"
            )
    trains = {"lr": [float(rate) for rate in root.optimization.lr], "seed": root.common.seed}
    if has_finished(root):
        for key, value in trains.items():
            if earlier.get(key, value) != value:
                raise DwtError(
                    f"{path}: expected the run that has finished here, with {key} {earlier[key]}, "
                    f"got {key} {value}; choose another hydra.run.dir, or remove that run"
                )
    elif is_master(root.distributed_training):
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            json.dump({**now, **trains}, file, indent=1)


def _record(task: Any, ticket: AnyTicket | None) -> dict[str, Any]:
    root, cfg = task.root, task.cfg
    with open(os.path.join(cfg.data, "input0", "dict.txt"), "rb") as file:
        dictionary = hashlib.sha256(file.read()).hexdigest()
    optimizer, criterion = root.optimizer, root.criterion
    wrapped = optimizer["wrapped_optimizer"] if "wrapped_optimizer" in optimizer else None
    names = [type(task).__name__, _name(criterion), _name(optimizer), _name(wrapped)]
    record = {
        "base": task.pretrained.fingerprint,
        "task": task_of_folder(cfg.data),
        "labels": "numbers" if cfg.regression_target else task.labels(),
        "dictionary": dictionary,
        "method": " ".join(name for name in names if name),
        "ticket": None if ticket is None else ticket.digest(),
        "settings": _of_recipe(root),
    }
    for name, section in (("l1_lambda", criterion), ("move_every", optimizer)):
        if name in section and section[name] is not None:
            record[name] = section[name]
    return record


def _of_recipe(root: DictConfig) -> dict[str, Any] | None:
    """The settings ``ticket.*`` of one of our configs that say which run it is."""
    settings = root["ticket"] if "ticket" in root else None
    if not isinstance(settings, DictConfig):
        return None
    given: Any = OmegaConf.to_container(settings)
    return {n: v for n, v in given.items() if n not in ("sigma", "mode", "user_dir")}


def _name(node: Any) -> str | None:
    """``_name`` of a section, or the text that fairseq-train gives for one."""
    if node is None or isinstance(node, str):
        return node
    return node["_name"] if "_name" in node else None


def _record_of_before(root: DictConfig, last: str, now: dict[str, Any]) -> dict[str, Any]:
    """What is known of a run that was begun before there was a run.json."""
    earlier: dict[str, Any] = {}
    labels = (load_checkpoint(last).get("task_state") or {}).get("labels")
    if labels:
        earlier["labels"] = list(labels)
    path = ticket_in(root.checkpoint.save_dir)
    if path is not None:
        found = load_ticket(path)
        if found.origin.base is not None:
            earlier["base"] = found.origin.base
        if now["ticket"] is not None:
            earlier["ticket"] = found.digest()
    return earlier


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError) as error:
        raise DwtError(
            f"{path}: expected what the run in this folder is, cannot read it ({error}); remove "
            "the file if the run is the one you mean"
        ) from None
    if not isinstance(record, dict):
        raise DwtError(f"{path}: expected a JSON object, got {type(record).__name__}; remove it")
    return record


def _told(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    text = str(value)
    # a hash
    return f"{text[:12]}…" if len(text) == 64 else text
