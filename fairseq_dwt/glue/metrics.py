"""GLUE's metrics: accuracy, Matthews correlation, F1, Pearson and Spearman correlation.

All are Python floats in [-1, 1]. A metric that is undefined for its input (constant predictions,
a single example, predictions that are not finite) is 0.0, without a warning: during training that
is an uninformative model, not an error.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DwtError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def _accuracy(predictions: np.ndarray, targets: np.ndarray, positive: int) -> float:
    return float(np.mean(predictions == targets))


def _mcc(predictions: np.ndarray, targets: np.ndarray, positive: int) -> float:
    from sklearn.metrics import matthews_corrcoef

    if np.all(predictions == predictions[0]) or np.all(targets == targets[0]):
        return 0.0  # scikit-learn's value too, but it may warn
    return float(matthews_corrcoef(targets, predictions))


def _f1(predictions: np.ndarray, targets: np.ndarray, positive: int) -> float:
    from sklearn.metrics import f1_score

    # average="binary" would refuse targets in which the positive class does not occur.
    return float(
        f1_score(targets, predictions, labels=[positive], average="macro", zero_division=0)
    )


def _pearson(predictions: np.ndarray, targets: np.ndarray, positive: int) -> float:
    from scipy.stats import pearsonr

    return _correlation(pearsonr, predictions, targets)


def _spearman(predictions: np.ndarray, targets: np.ndarray, positive: int) -> float:
    from scipy.stats import spearmanr

    return _correlation(spearmanr, predictions, targets)


def _correlation(statistic: Any, predictions: np.ndarray, targets: np.ndarray) -> float:
    # Models predict in fp16 or fp32; the sums of a correlation want more.
    predictions = predictions.astype(np.float64)
    targets = targets.astype(np.float64)
    if len(targets) < 2 or not (np.isfinite(predictions).all() and np.isfinite(targets).all()):
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # (nearly) constant input
        value = float(statistic(predictions, targets)[0])
    return value if math.isfinite(value) else 0.0


METRICS = {
    "accuracy": _accuracy,
    "mcc": _mcc,
    "f1": _f1,
    "pearson": _pearson,
    "spearman": _spearman,
}


def scores(
    names: Iterable[str], predictions: ArrayLike, targets: ArrayLike, positive: int = 1
) -> dict[str, float]:
    """Compute metrics over a whole data set.

    names: keys of `METRICS`, for instance ``GlueTask.metrics``.
    predictions, targets: shape (examples,); class indices, or real numbers for ``pearson`` and
        ``spearman``. Lists, numpy arrays and CPU tensors.
    positive: the class index that F1 is about: the one that the label dictionary gives to label
        ``"1"`` (fairseq orders label dictionaries by frequency, so it is often 0).

    Returns:
        one float in [-1, 1] per name, in the order of `names`.

    Raises:
        DwtError: unknown metric, no examples, or shapes that differ.

    >>> scores(["accuracy", "f1"], [1, 0, 1, 1], [1, 0, 0, 1])
    {'accuracy': 0.75, 'f1': 0.8}
    """
    predictions = np.asarray(predictions)
    targets = np.asarray(targets)
    if predictions.ndim != 1 or predictions.shape != targets.shape:
        raise DwtError(
            "predictions and targets must be two vectors of the same length, "
            f"got shapes {predictions.shape} and {targets.shape}"
        )
    if len(targets) == 0:
        raise DwtError("no examples to score: expected at least one prediction, got none")
    result = {}
    for name in names:
        if name not in METRICS:
            raise DwtError(f"unknown metric {name!r}: use one of {', '.join(METRICS)}")
        result[name] = METRICS[name](predictions, targets, positive)
    return result
