"""Reading a run folder: what was run, how it scored, whether it finished."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import DwtError
from ..find.methods import label_of
from ..glue.metrics import METRICS
from ..glue.predictions import DevPredictions
from ..glue.suite import task_of_folder
from ..run.folder import CONFIG, LOG, PREDICTIONS, RUN, launched, ticket_in
from ..ticket import AnyTicket, load_ticket

_STATS = re.compile(r"\[(valid|train_inner)\]\[INFO\] - (\{.*\})$")
_TRAINED = re.compile(r"([\d,]+) of ([\d,]+) pre-trained parameters train")
_DONE, _BEGUN = "done training in", "begin training epoch"

#: The method of the L1 fine-tuning.
STAGE_1 = "L1"


@dataclass(frozen=True)
class Run:
    """One run of fairseq-hydra-train.

    Attributes:
        folder: the run folder.
        method: ``Dominant-1``, ``Random-3``, ``BitFit``, ``Full``, or :data:`STAGE_1`.
        task: the data's folder name, ``RTE``.
        lr: learning rate.
        seed: ``common.seed``.
        source: task that the ticket was found on; None where it was found on none.
        metric: name of the score that selects the best checkpoint.
        validations: (updates, that score in per cent) of each validation, in order.
        training: (updates, loss in base 2, accuracy in per cent) of each logging interval.
        predictions: of the best validation, where the run kept them.
        trained: pre-trained parameters that train; None where the log does not say.
        pretrained: all pre-trained parameters.
        finished: whether training ran to its end.
        maximize: whether a higher score is a better one.
        saved: folder of its checkpoints and its ticket, where that is another one.
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
    maximize: bool = True
    saved: str | None = None

    @property
    def best(self) -> float | None:
        """The best validation's score, computed from its predictions; without, the log's."""
        if self.recomputed:
            assert self.predictions is not None
            return self.predictions.percent([self.metric])[self.metric]
        scores = [score for _, score in self.validations]
        return None if not scores else self.best_of(scores)

    def best_of(self, scores: Sequence[float]) -> float:
        """The highest score, or the lowest loss."""
        return max(scores, key=self.worth)

    def worth(self, score: float) -> float:
        """By which scores are ranked: a loss by its negative, NaN below all."""
        if math.isnan(score):
            return -math.inf
        return score if self.maximize else -score

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
        return self.method == STAGE_1


def find_runs(folders: list[str]) -> list[Run]:
    """All runs at or below the folders, each once, in the order of their paths.

    Raises:
        DwtError: a folder does not exist, or holds no run; a run's settings cannot be read.
    """
    runs: dict[str, Run] = {}
    for folder in folders:
        found = sorted(_run_folders(folder))
        if not found:
            raise DwtError(
                f"{folder}: expected run folders of fairseq-hydra-train (with {CONFIG}), "
                "found none; check the path"
            )
        for run in found:
            real = os.path.realpath(run)
            if real not in runs:
                runs[real] = _read(run)
    return list(runs.values())


def _run_folders(folder: str) -> Iterator[str]:
    seen = set()  # of links that lead back
    for path, folders, _ in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        if real in seen:
            folders.clear()
        elif _config(path) is not None:
            folders.clear()
            yield path
        seen.add(real)


def _read(folder: str) -> Run:
    try:
        return read_run(folder)
    except (OmegaConfBaseException, AttributeError, LookupError, TypeError) as error:
        raise DwtError(
            f"{folder}: expected the settings of a run, got others "
            f"({' '.join(str(error).split())[:200]}); remove the run's folder, or name others"
        ) from None


def _config(folder: str) -> Any:
    """A run's settings; None where Hydra has launched something else there, or nothing.

    Hydra writes them before fairseq looks at them: without data nothing was launched.
    """
    path = os.path.join(folder, CONFIG)
    if not os.path.isfile(path):
        return None
    try:
        config = OmegaConf.load(path)
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise DwtError(
            f"{path}: expected the settings of a run as Hydra wrote them, cannot read them "
            f"({' '.join(str(error).split())[:200]}); remove the run's folder, or name others"
        ) from None
    sections = ("task", "optimizer", "optimization", "checkpoint")
    ours = isinstance(config, DictConfig) and all(
        name in config and isinstance(config[name], DictConfig) for name in sections
    )
    return config if ours and config.task.get("data", "") else None


def read_run(folder: str) -> Run:
    """Read one run folder.

    Raises:
        DwtError: its settings, its ticket or its predictions cannot be read.
    """
    config = _config(folder)
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
    saved = os.path.join(folder, config.checkpoint.get("save_dir", "."))
    saved = saved if os.path.isdir(saved) else folder
    of_launch = launched(os.path.join(saved, RUN))
    used = ticket_in(saved)
    ticket = None if used is None else load_ticket(used)
    source = None if ticket is None else ticket.origin.task
    predictions = os.path.join(saved, PREDICTIONS)
    return Run(
        folder=folder,
        method=_method(config, ticket),
        task=task_of_folder(config.task.data),
        lr=float(of_launch.get("lr", config.optimization.lr)[0]),
        seed=of_launch.get("seed", config.common.seed),
        metric=metric,
        validations=sorted(validations.items()),
        trained=numbers[0],
        pretrained=numbers[1],
        finished=_last(log, _DONE) > _last(log, _BEGUN),
        source=task_of_folder(source) if source else None,
        training=[(update, *point) for update, point in sorted(training.items())],
        predictions=DevPredictions.load(predictions) if os.path.isfile(predictions) else None,
        maximize=config.checkpoint.get("maximize_best_checkpoint_metric", False),
        saved=saved,
    )


def _last(log: Sequence[str], words: str) -> int:
    """The last line with these words; -1 where there is none."""
    return max((number for number, line in enumerate(log) if words in line), default=-1)


def _read_log(folder: str) -> list[str]:
    path = os.path.join(folder, LOG)
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().splitlines()


def _method(config: Any, ticket: AnyTicket | None) -> str:
    settings = config["ticket"] if "ticket" in config else {}
    if config.task._name == "ticket_extract" or "l1_lambda" in settings:
        return STAGE_1
    if config.optimizer._name != "dominant_ticket" and "file" not in settings:
        return "Full"
    # The settings name a file or a word; what the run trained stands in its own folder.
    if ticket is None:
        return "?"
    return label_of(ticket)
