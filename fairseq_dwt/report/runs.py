"""Reading a run folder: what was run, how it scored, whether it finished."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from omegaconf import OmegaConf

from ..errors import DwtError
from ..find.methods import label_of
from ..glue.metrics import METRICS
from ..glue.predictions import DevPredictions
from ..glue.suite import task_of_folder
from ..run.folder import CONFIG, LOG, PREDICTIONS, ticket_in
from ..ticket import AnyTicket, load_ticket

_STATS = re.compile(r"\[(valid|train_inner)\]\[INFO\] - (\{.*\})$")
_TRAINED = re.compile(r"([\d,]+) of ([\d,]+) pre-trained parameters train")
_DONE = "done training in"


@dataclass(frozen=True)
class Run:
    """One run of fairseq-hydra-train.

    Attributes:
        folder: the run folder.
        method: ``Dominant-1``, ``Random-3``, ``BitFit``, ``Full``, or ``L1`` for stage 1.
        task: the data's folder name, ``RTE``.
        lr: learning rate.
        seed: ``common.seed``.
        source: task that the ticket was found on; None where it was found on none.
        metric: name of the score that selects the best checkpoint.
        validations: (updates, that score in per cent) of each validation, in order.
        training: (updates, loss in base 2, accuracy in per cent) of each logging interval.
        predictions: of the best validation, where the run kept them.
        trained: pre-trained parameters that train; None in stage 1.
        pretrained: all pre-trained parameters.
        finished: whether training ran to its end.
    """

    folder: str
    method: str
    task: str
    lr: float
    seed: int
    metric: str
    validations: list[tuple[float, float]]
    trained: int | None
    pretrained: int | None
    finished: bool
    source: str | None = None
    training: list[tuple[float, float, float]] = field(default_factory=list)
    predictions: DevPredictions | None = None

    @property
    def best(self) -> float | None:
        """The best validation's score, computed from its predictions; without, the log's."""
        if self.recomputed:
            assert self.predictions is not None
            return self.predictions.percent([self.metric])[self.metric]
        return max((score for _, score in self.validations), default=None)

    @property
    def recomputed(self) -> bool:
        """Whether :attr:`best` is computed from predictions. A loss, for one, cannot be."""
        return self.predictions is not None and self.metric in METRICS

    @property
    def label(self) -> str:
        """The method, and whose ticket it was where it was moved from another task."""
        moved = self.source is not None and self.source != self.task
        return f"{self.method} ({self.source})" if moved else self.method

    @property
    def is_stage_1(self) -> bool:
        """Whether this is the L1 fine-tuning."""
        return self.trained is None


def find_runs(folders: list[str]) -> list[Run]:
    """All runs at or below the folders, in the order of their paths.

    Raises:
        DwtError: a folder does not exist, or holds no run.
    """
    runs = []
    for folder in folders:
        found = sorted(_run_folders(folder))
        if not found:
            raise DwtError(
                f"{folder}: expected run folders of fairseq-hydra-train (with {CONFIG}), "
                "found none; check the path"
            )
        runs += [read_run(run) for run in found]
    return runs


def _run_folders(folder: str) -> Iterator[str]:
    for path, folders, _ in os.walk(folder):
        if os.path.isfile(os.path.join(path, CONFIG)):
            yield path
            folders.clear()


def read_run(folder: str) -> Run:
    """Read one run folder."""
    config = OmegaConf.load(os.path.join(folder, CONFIG))
    log = _read_log(folder)
    metric = config.checkpoint.best_checkpoint_metric
    # a run that was launched again may have logged an update twice: the last one counts
    validations: dict[float, float] = {}
    training: dict[float, tuple[float, float]] = {}
    for match in filter(None, map(_STATS.search, log)):
        try:
            stats = json.loads(match.group(2))
            if match.group(1) == "valid":
                validations[float(stats["valid_num_updates"])] = float(stats[f"valid_{metric}"])
            else:
                point = float(stats["loss"]), float(stats.get("accuracy", "nan"))
                training[float(stats["num_updates"])] = point
        except (ValueError, KeyError):
            continue  # a line that breaks off, or another metric
    trained = next(filter(None, map(_TRAINED.search, reversed(log))), None)
    numbers = [int(n.replace(",", "")) for n in trained.groups()] if trained else [None, None]
    used = ticket_in(folder)
    ticket = None if used is None else load_ticket(used)
    source = None if ticket is None else ticket.origin.task
    predictions = os.path.join(folder, PREDICTIONS)
    return Run(
        folder=folder,
        method=_method(config, ticket),
        task=task_of_folder(config.task.data),
        lr=float(config.optimization.lr[0]),
        seed=config.common.seed,
        metric=metric,
        validations=sorted(validations.items()),
        trained=numbers[0],
        pretrained=numbers[1],
        finished=any(_DONE in line for line in log),
        source=task_of_folder(source) if source else None,
        training=[(update, *point) for update, point in sorted(training.items())],
        predictions=DevPredictions.load(predictions) if os.path.isfile(predictions) else None,
    )


def _read_log(folder: str) -> list[str]:
    path = os.path.join(folder, LOG)
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().splitlines()


def _method(config: Any, ticket: AnyTicket | None) -> str:
    settings = config["ticket"] if "ticket" in config else {}
    if config.task._name == "ticket_extract" or "l1_lambda" in settings:
        return "L1"
    if config.optimizer._name != "dominant_ticket" and "file" not in settings:
        return "Full"
    # The settings name a file or a word; what the run trained stands in its own folder.
    if ticket is None:
        return "?"
    return label_of(ticket)
