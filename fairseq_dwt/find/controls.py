"""Tickets without a search: Random-k, Random-p %, BitFit, the largest weights, a moving slice."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import DwtError
from ..model.names import Matrix
from ..ticket import Columns, ElementMask, Origin, Ticket
from ..ticket.columns import ranking


def random_columns(
    matrices: Sequence[Matrix], k: int, seed: int, origin: Origin, like: Ticket | None = None
) -> Ticket:
    """Random-k: columns drawn uniformly, the bias among them, without replacement.

    Args:
        matrices: the model's ticket matrices.
        k: columns per matrix.
        seed: the same seed draws the same columns on every machine.
        origin: recorded in the ticket.
        like: where given, each matrix gets as many columns as this ticket's top k has there.

    Raises:
        DwtError: k is negative, or larger than a matrix.
    """
    generator = random.Random(seed)
    numbers = {m.name: k for m in matrices}
    if like is not None:
        cut = like.top(k).matrices
        numbers = {m.name: len(cut[m.name].columns) if m.name in cut else 0 for m in matrices}
    found = {}
    for matrix in matrices:
        _check_k(matrix, k)
        drawn = generator.sample(range(matrix.in_features + 1), numbers[matrix.name])
        if drawn:
            found[matrix.name] = Columns(matrix.shape, tuple(drawn))
    return Ticket(found, origin)


def random_elements(
    matrices: Sequence[Matrix], percent: float, seed: int, origin: Origin
) -> ElementMask:
    """Random-p %: that share of each matrix (bias included), drawn uniformly (section 5.1).

    Raises:
        DwtError: percent is not in (0, 100], or the seed is none of numpy's.
    """
    if not 0 < percent <= 100:
        raise DwtError(f"percent: expected a number above 0 and up to 100, got {percent}")
    if not 0 <= seed < 2**32:
        raise DwtError(f"seed: expected a number from 0 to {2**32 - 1} with percent, got {seed}")
    # RandomState's stream is frozen by numpy's policy: the same mask on every machine.
    generator = np.random.RandomState(seed)
    masks = {}
    for matrix in matrices:
        mask = np.zeros(matrix.num_parameters, dtype=bool)
        mask[generator.permutation(mask.size)[: round(mask.size * percent / 100)]] = True
        masks[matrix.name] = torch.from_numpy(mask.reshape(matrix.out_features, -1))
    return ElementMask(masks, origin)


def bitfit(matrices: Sequence[Matrix], origin: Origin) -> Ticket:
    """BitFit as a ticket: the bias column of every matrix (section 5.3)."""
    return Ticket({m.name: Columns(m.shape, (m.in_features,)) for m in matrices}, origin)


def largest_weights(
    matrices: Sequence[Matrix], k: int, weights: Mapping[str, Tensor], origin: Origin
) -> Ticket:
    """Weight-norm-k: the columns of largest ‖W_j‖ of each matrix, the bias as one of them.

    Args:
        matrices: the model's ticket matrices.
        k: columns per matrix.
        weights: θ0, ``{parameter name: tensor}``.
        origin: recorded in the ticket.

    Raises:
        DwtError: k is negative, or larger than a matrix, or one has no bias.
    """
    found = {}
    for matrix in matrices:
        _check_k(matrix, k)
        if matrix.bias not in weights:
            raise DwtError(
                f"{matrix.bias}: expected a bias, which is a column as any, found none in the "
                "pre-trained file; tickets are of matrices that have one"
            )
        whole = torch.cat([weights[matrix.weight], weights[matrix.bias][:, None]], dim=1)
        columns = ranking(whole.double().norm(dim=0), k)
        if columns:
            found[matrix.name] = Columns(matrix.shape, tuple(columns))
    return Ticket(found, origin)


def random_slice(
    matrices: Sequence[Matrix], k: int, seed: int, number: int, origin: Origin
) -> Ticket:
    """Slice-k: the columns of a moving slice (SliceFine), biases never among them.

    Args:
        matrices: the model's ticket matrices.
        k: columns per matrix; all draws have the same shapes.
        seed: of all draws.
        number: which draw, from 0.
        origin: recorded in the ticket.

    Raises:
        DwtError: k is not positive, or larger than a matrix.
    """
    generator = random.Random(f"{seed}/{number}")
    found = {}
    for matrix in matrices:
        if not 0 < k <= matrix.in_features:
            raise DwtError(
                f"k: matrix {matrix.name} has {matrix.in_features} input columns for a slice, got "
                f"k = {k}"
            )
        drawn = generator.sample(range(matrix.in_features), k)
        found[matrix.name] = Columns(matrix.shape, tuple(drawn))
    return Ticket(found, origin)


def _check_k(matrix: Matrix, k: int) -> None:
    if not 0 <= k <= matrix.in_features + 1:
        raise DwtError(f"k: matrix {matrix.name} has {matrix.in_features + 1} columns, got k = {k}")
