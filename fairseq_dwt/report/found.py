"""The tickets of the stage 1 runs among some runs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..run.folder import TICKET
from ..ticket import Ticket
from .runs import Run

#: Columns per matrix in the structure tables, as in the paper.
K = 3


@dataclass(frozen=True)
class Found:
    """A stage 1 among the runs, its ticket, and what it is called: by its folder, if need be."""

    run: Run
    ticket: Ticket
    name: str


def tickets_of(runs: Sequence[Run]) -> list[Found]:
    """Each stage 1 that has written a ticket, by task and seed."""
    stages = [run for run in runs if run.is_stage_1]
    names = Counter((run.task, run.seed) for run in stages)
    found = []
    for run in sorted(stages, key=lambda run: (run.task, run.seed, run.folder)):
        path = os.path.join(run.saved or run.folder, TICKET)
        where = f", {run.folder}" if names[run.task, run.seed] > 1 else ""
        if os.path.isfile(path):
            name = f"{run.task}, seed {run.seed}{where}"
            found.append(Found(run, Ticket.load(path), name))
    return found
