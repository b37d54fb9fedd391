"""The GLUE scores of one validation, over the whole dev set and all workers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .metrics import scores


class DevScores:
    """Collects predictions batch by batch and scores them once, together.

    A score such as Matthews correlation is no average over batches, and workers see different
    rows; some see a row twice, where fairseq fills up an uneven last step. Rows are told apart by
    their id.

    Args:
        names: the scores, keys of :data:`~fairseq_dwt.glue.metrics.METRICS`.
        positive: class index that F1 is about.
    """

    def __init__(self, names: Sequence[str], positive: int):
        self.names = tuple(names)
        self.positive = positive
        self._rows: dict[int, tuple[float, float]] = {}
        self._result: dict[str, float] | None = None
        self._finished = False

    def add(self, ids: torch.Tensor, predictions: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch: row ids, predictions (class indices or numbers), targets; shape (batch,)."""
        if self._finished:
            self._rows, self._finished = {}, False
        self._result = None
        triples = zip(ids.tolist(), predictions.tolist(), targets.view(-1).tolist())
        self._rows.update((row, (prediction, target)) for row, prediction, target in triples)

    def finish(self) -> None:
        """The dev set is through: the next batch starts another one. Scores stay readable."""
        self._finished = True

    def rows(self) -> dict[int, tuple[float, float]]:
        """``{row: (prediction, target)}`` of all workers; every worker must ask."""
        return self._rows_of_all_workers()

    def percent(self, name: str) -> float:
        """A score of all rows of all workers, in per cent.

        The first call after a batch exchanges rows between workers, so every worker must make it.
        """
        if self._result is None:
            rows = self._rows_of_all_workers()
            predictions, targets = zip(*(rows[row] for row in sorted(rows)))
            self._result = scores(self.names, predictions, targets, positive=self.positive)
        return round(100 * self._result[name], 2)

    def _rows_of_all_workers(self) -> dict[int, tuple[float, float]]:
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return self._rows
        parts: list[dict[int, tuple[float, float]]] = [{}] * distributed.get_world_size()
        distributed.all_gather_object(parts, self._rows)
        return {row: value for part in parts for row, value in part.items()}
