"""The tickets of the stage 1 runs among some runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..run.folder import TICKET
from ..ticket import Ticket
from .runs import Run

#: Columns per matrix in the structure tables, as in the paper.
K = 3


@dataclass(frozen=True)
class Found:
    """A stage 1 among the runs, and its ticket."""

    run: Run
    ticket: Ticket

    @property
    def name(self) -> str:
        return f"{self.run.task}, seed {self.run.seed}"


def tickets_of(runs: Sequence[Run]) -> list[Found]:
    """Each stage 1 that has written a ticket, by task and seed."""
    found = []
    for run in runs:
        path = os.path.join(run.folder, TICKET)
        if run.is_stage_1 and os.path.isfile(path):
            found.append(Found(run, Ticket.load(path)))
    return sorted(found, key=lambda f: (f.run.task, f.run.seed, f.run.folder))
