"""Reading a run folder: what was run, how it scored, whether it finished."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any, Iterator, List, Optional

from omegaconf import OmegaConf

from ..element_mask import AnyTicket, ElementMask
from ..errors import DwtError
from ..sources import load_ticket

__all__ = ["Run", "find_runs", "read_run"]

_VALID = re.compile(r"\[valid\]\[INFO\] - (\{.*\})$")
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
        metric: name of the score that selects the best checkpoint.
        scores: that score after each validation, in per cent, in order.
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
    scores: List[float]
    trained: Optional[int]
    pretrained: Optional[int]
    finished: bool

    @property
    def best(self) -> Optional[float]:
        """The best validation score, as fairseq keeps ``checkpoint_best.pt``."""
        return max(self.scores) if self.scores else None

    @property
    def is_stage_1(self) -> bool:
        """Whether this is the L1 fine-tuning."""
        return self.trained is None


def find_runs(folders: List[str]) -> List[Run]:
    """All runs at or below the folders, in the order of their paths.

    Raises:
        DwtError: a folder does not exist, or holds no run.
    """
    runs = []
    for folder in folders:
        found = sorted(_run_folders(folder))
        if not found:
            raise DwtError(
                f"{folder}: expected run folders of fairseq-hydra-train (with .hydra/config.yaml), "
                "found none; check the path"
            )
        runs += [read_run(run) for run in found]
    return runs


def _run_folders(folder: str) -> Iterator[str]:
    for path, folders, _ in os.walk(folder):
        if os.path.isfile(os.path.join(path, ".hydra", "config.yaml")):
            yield path
            folders.clear()


def read_run(folder: str) -> Run:
    """Read one run folder."""
    config = OmegaConf.load(os.path.join(folder, ".hydra", "config.yaml"))
    log = _read_log(folder)
    metric = config.checkpoint.best_checkpoint_metric
    scores = []
    for match in map(_VALID.search, log):
        stats = json.loads(match.group(1)) if match else {}
        if f"valid_{metric}" in stats:
            scores.append(float(stats[f"valid_{metric}"]))
    trained = next(filter(None, map(_TRAINED.search, reversed(log))), None)
    numbers = [int(n.replace(",", "")) for n in trained.groups()] if trained else [None, None]
    return Run(
        folder=folder,
        method=_method(config, folder),
        task=os.path.basename(os.path.normpath(config.task.data)),
        lr=float(config.optimization.lr[0]),
        seed=config.common.seed,
        metric=metric,
        scores=scores,
        trained=numbers[0],
        pretrained=numbers[1],
        finished=any(_DONE in line for line in log),
    )


def _read_log(folder: str) -> List[str]:
    path = os.path.join(folder, "hydra_train.log")
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().splitlines()


def _method(config: Any, folder: str) -> str:
    if config.task._name == "ticket_extract":
        return "L1"
    if config.optimizer._name != "dominant_ticket":
        return "Full"
    # The settings name a file or a word; what the run trained stands in its own folder.
    ticket = _ticket(folder)
    if ticket is None:
        return "?"
    name = {"dominant": "Dominant", "random": "Random", "bitfit": "BitFit"}.get(
        ticket.origin.method, ticket.origin.method
    )
    if isinstance(ticket, ElementMask):
        entries = sum(mask.numel() for mask in ticket.masks.values())
        share = f"{100 * ticket.num_parameters / entries:.2g} %"
        return f"σ-mask {share}" if name == "Dominant" else f"{name}-{share}"
    if name == "BitFit":
        return name
    k = max((len(entry.columns) for entry in ticket.matrices.values()), default=0)
    return f"{name}-{k}"


def _ticket(folder: str) -> Optional[AnyTicket]:
    for name in ("ticket.json", "ticket.safetensors"):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return load_ticket(path)
    return None
