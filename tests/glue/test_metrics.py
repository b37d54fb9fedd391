from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from fairseq_dwt.errors import DwtError
from fairseq_dwt.glue.metrics import METRICS, scores

ALL = tuple(METRICS)


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error", category=RuntimeWarning)
        warnings.simplefilter("error", category=UserWarning)
        yield


def _confusion(tp: int, fp: int, fn: int, tn: int) -> tuple[list[int], list[int]]:
    predictions = [1] * tp + [1] * fp + [0] * fn + [0] * tn
    targets = [1] * tp + [0] * fp + [1] * fn + [0] * tn
    return predictions, targets


def test_values_from_the_definitions():
    tp, fp, fn, tn = 6, 2, 3, 9
    got = scores(["accuracy", "mcc", "f1"], *_confusion(tp, fp, fn, tn))
    root = ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    assert got["accuracy"] == pytest.approx((tp + tn) / 20)
    assert got["mcc"] == pytest.approx((tp * tn - fp * fn) / root)
    assert got["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert list(got) == ["accuracy", "mcc", "f1"]


def test_f1_is_about_the_positive_class():
    predictions, targets = _confusion(6, 2, 3, 9)
    flipped = [1 - p for p in predictions], [1 - t for t in targets]
    assert scores(["f1"], *flipped, positive=0) == scores(["f1"], predictions, targets, positive=1)
    assert scores(["f1"], *flipped, positive=1) != scores(["f1"], *flipped, positive=0)


def test_correlations_from_the_definitions():
    rng = np.random.default_rng(0)
    targets = rng.random(50)
    predictions = targets + rng.normal(size=50)
    got = scores(["pearson", "spearman"], predictions, targets)
    assert got["pearson"] == pytest.approx(np.corrcoef(predictions, targets)[0, 1])
    ranks = predictions.argsort().argsort(), targets.argsort().argsort()
    assert got["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_spearman_is_about_ranks_only():
    targets = [0.1, 0.2, 0.4, 0.9]
    got = scores(["pearson", "spearman"], np.exp(targets) ** 9, targets)
    assert got["spearman"] == pytest.approx(1.0)
    assert got["pearson"] < 0.99


@pytest.mark.parametrize("name", ALL)
def test_perfect_is_one_as_a_python_float(name):
    value = scores([name], [0, 1, 1, 0], [0, 1, 1, 0])[name]
    assert type(value) is float
    assert value == pytest.approx(1.0)
    assert value <= 1.0


@pytest.mark.parametrize("name", ["mcc", "pearson", "spearman"])
def test_all_wrong_is_minus_one(name):
    value = scores([name], [1, 0, 0, 1], [0, 1, 1, 0])[name]
    assert value == pytest.approx(-1.0)
    assert value >= -1.0


@pytest.mark.parametrize("name", ["mcc", "f1", "pearson", "spearman"])
@pytest.mark.parametrize(
    ("predictions", "targets"),
    [([0, 0, 0], [0, 1, 1]), ([0, 1, 1], [0, 0, 0]), ([0, 0, 0], [0, 0, 0]), ([0], [0])],
)
def test_degenerate_is_zero_without_a_warning(name, predictions, targets):
    assert scores([name], predictions, targets) == {name: 0.0}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_predictions_that_are_not_finite_correlate_with_nothing(bad):
    got = scores(["pearson", "spearman"], [bad, 0.5, 0.2], [0.1, 0.5, 0.2])
    assert got == {"pearson": 0.0, "spearman": 0.0}


def test_nearly_constant_predictions_give_no_warning():
    noise = 1.0 + np.arange(4) * 1e-16
    assert -1.0 <= scores(["pearson"], noise, [1.0, 2.0, 3.0, 5.0])["pearson"] <= 1.0


def test_three_classes():
    got = scores(["accuracy", "mcc"], [0, 1, 2, 2], [0, 1, 2, 1])
    assert got["accuracy"] == 0.75
    assert 0.0 < got["mcc"] < 1.0


def test_tensors_of_any_precision():
    generator = torch.Generator().manual_seed(0)
    targets = (5 * torch.rand(20000, generator=generator)).half()
    predictions = targets + torch.randn(20000, generator=generator).half()
    expected = np.corrcoef(predictions.double(), targets.double())[0, 1]
    got = scores(["pearson"], predictions, targets)["pearson"]
    assert got == pytest.approx(expected, abs=1e-9)


def test_unknown_metric():
    with pytest.raises(DwtError, match="unknown metric 'bleu': use one of accuracy, mcc"):
        scores(["bleu"], [0], [0])


@pytest.mark.parametrize(
    ("predictions", "targets"), [([0, 1], [0]), ([[0], [1]], [0, 1]), ([[0]], [[0]])]
)
def test_shapes_that_differ(predictions, targets):
    with pytest.raises(DwtError, match="two vectors of the same length, got shapes"):
        scores(["accuracy"], predictions, targets)


def test_no_examples():
    with pytest.raises(DwtError, match="no examples to score"):
        scores(["accuracy"], [], [])
