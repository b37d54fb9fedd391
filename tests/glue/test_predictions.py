from __future__ import annotations

import pytest

from fairseq_dwt import DwtError
from fairseq_dwt.glue.predictions import DevPredictions

KEPT = DevPredictions(8, "mcc", 57.74, 1, {0: (1, 1), 1: (1, 1), 2: (0, 0), 3: (1, 0)})


def test_saved_and_loaded_is_the_same(tmp_path):
    path = str(tmp_path / "p.tsv")
    KEPT.save(path)
    assert DevPredictions.load(path) == KEPT


def test_any_metric_can_be_had():
    found = KEPT.percent(["mcc", "accuracy", "f1"])
    assert {name: round(value, 2) for name, value in found.items()} == {
        "mcc": 57.74, "accuracy": 75.0, "f1": 80.0
    }  # fmt: skip


def test_numbers_keep_all_their_digits(tmp_path):
    path = str(tmp_path / "p.tsv")
    numbers = DevPredictions(8, "pearson", 1.0, 0, {0: (0.1, 1 / 3), 7: (-2.5e-9, 0.4)})
    numbers.save(path)
    assert DevPredictions.load(path) == numbers


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "p.tsv"
    KEPT.save(str(path))
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DwtError, match="predictions"):
            DevPredictions.load(str(path))
