"""The predictions of a run's best validation, kept beside its checkpoints.

A score in a report is computed from these, not read from a log line, and any other metric can be
computed later. The file is TSV with one line of JSON in front::

    # {"format": "fairseq_dwt.predictions", "version": 1, "update": 460, "metric": "accuracy", …}
    0	1	1
    1	0	1

The columns are the row of the dev set, what was predicted and what is right: class indices, or
numbers where the target is one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from ..errors import DwtError
from ..files import replacing
from .metrics import scores

FORMAT = "fairseq_dwt.predictions"
VERSION = 1


@dataclass(frozen=True)
class DevPredictions:
    """What a model predicted for a dev set.

    Attributes:
        update: number of updates of the model.
        metric: name of the score that chose this validation as the best.
        score: its value as fairseq saw it.
        positive: the class index that F1 is about.
        rows: ``{row of the dev set: (prediction, target)}``.
    """

    update: int
    metric: str
    score: float
    positive: int
    rows: Mapping[int, tuple[float, float]]

    def percent(self, names: Iterable[str]) -> dict[str, float]:
        """Metrics of :data:`~fairseq_dwt.glue.metrics.METRICS`, in per cent."""
        predictions, targets = zip(*self.rows.values())
        found = scores(names, predictions, targets, positive=self.positive)
        return {name: 100 * value for name, value in found.items()}

    def save(self, path: str) -> None:
        """Write the file, whole or not at all."""
        head = {"format": FORMAT, "version": VERSION, **asdict(self), "rows": len(self.rows)}
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(f"# {json.dumps(head)}\n")
            for row in sorted(self.rows):
                prediction, target = self.rows[row]
                file.write(f"{row}\t{prediction!r}\t{target!r}\n")

    @classmethod
    def load(cls, path: str) -> DevPredictions:
        """Read a file.

        Raises:
            DwtError: not such a file, a newer one, or broken.
        """
        try:
            with open(path, encoding="utf-8") as file:
                first, *lines = file.read().split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DwtError(f"{path}: expected predictions, cannot read it: {error}") from None
        try:
            head = json.loads(first[2:])
            kind, version = head.pop("format"), head.pop("version")
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            kind = version = None
        if kind != FORMAT or version != VERSION:
            raise DwtError(
                f"{path}: expected {FORMAT} of version {VERSION}, got another kind of file"
            )
        try:
            if lines.pop() != "":
                raise ValueError("the last line breaks off")
            rows = {}
            for line in lines:
                row, prediction, target = line.split("\t")
                rows[int(row)] = (float(prediction), float(target))
                if not math.isfinite(float(target)):
                    raise ValueError(f"row {row} has no target")
            if not rows or not len(rows) == len(lines) == head["rows"]:
                raise ValueError(f"it has {len(rows)} rows of {head['rows']}")
            return cls(
                int(head["update"]), str(head["metric"]), float(head["score"]),
                int(head["positive"]), rows,
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            raise DwtError(
                f"{path}: expected predictions, got a broken file ({error}); evaluate the run again"
            ) from None
