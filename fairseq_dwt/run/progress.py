"""The time that a run has left, in fairseq's log beside its rate of updates (``ups``)."""

import time
from datetime import timedelta
from typing import Any

from fairseq.logging import metrics


class TimeLeft:
    """Logs ``left``, hours:minutes:seconds, from the updates of this launch; validations count.

    Args:
        max_update: updates of the whole run; nothing is logged where there is no such number.
    """

    def __init__(self, max_update: int) -> None:
        self._max_update = max_update
        self._began: float | None = None
        self._first = self._update = 0

    def step(self, update: int) -> None:
        """Update ``update`` (from 0) begins."""
        if self._began is None:
            self._began, self._first = time.monotonic(), update
        self._update = update

    def log(self) -> None:
        """Log it into fairseq's current aggregators."""
        if self._max_update > 0:
            metrics.log_derived("left", self._left, priority=95)

    def _left(self, _meters: Any) -> str:
        if self._began is None or self._update == self._first:
            return "?"
        seconds = (time.monotonic() - self._began) / (self._update - self._first)
        return str(timedelta(seconds=round(seconds * (self._max_update - self._update - 1))))
