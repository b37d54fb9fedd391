"""θ0 and θ → out-weighted parameters → ticket (section 3.2 and Algorithm 1), and its controls.

Everything works one matrix at a time: memory beyond θ0 and θ is that of the largest matrix.
"""

from __future__ import annotations

import random
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import Pretrained, Tuned
from ..errors import DwtError
from ..model.names import Matrix
from ..ticket.element_mask import ElementMask
from ..ticket.origin import Origin
from ..ticket.ticket import Columns, Ticket

__all__ = [
    "bitfit",
    "bottom",
    "count_out_weighted",
    "extract",
    "movement",
    "random_columns",
    "random_elements",
    "rank_columns",
    "sigma_mask",
]

#: Columns kept in a ticket's ranking, so that k is chosen when the ticket is used.
RANKED_COLUMNS = 32

TensorOf = Callable[[str], Tensor]


def count_out_weighted(
    init: Tensor, tuned: Tensor, init_bias: Tensor, tuned_bias: Tensor, sigma: float
) -> Tensor:
    """Out-weighted parameters per dimension: #{i : \\|Δ_ij\\| > σ} for each column j.

    Args:
        init: W of θ0, (out_features, in_features), any floating dtype.
        tuned: W of θ, same shape; θ0 is cast to its dtype before subtracting.
        init_bias: bias of θ0, (out_features,).
        tuned_bias: bias of θ, (out_features,).
        sigma: threshold σ.

    Returns:
        int64, (in_features + 1,) on the CPU; the last is the bias.
    """
    columns = out_weighted(init, tuned, sigma).sum(dim=0)
    bias = out_weighted(init_bias, tuned_bias, sigma).sum()
    return torch.cat([columns, bias.view(1)]).cpu()


def out_weighted(init: Tensor, tuned: Tensor, sigma: float) -> Tensor:
    """The mask m_σ = 1{\\|Δθ\\| > σ} of equation 2; bool, the tensors' shape."""
    return delta(init, tuned).abs_() > sigma


def delta(init: Tensor, tuned: Tensor) -> Tensor:
    """Δθ = θ − θ0 in fp32, on θ's device."""
    # An fp32 θ0 against an fp16 θ is rounding noise. The difference of two fp16 numbers is exact in
    # fp32.
    init = init.to(device=tuned.device, dtype=tuned.dtype)
    return tuned.detach().float() - init.float()


def rank_columns(counts: Tensor, limit: int = RANKED_COLUMNS) -> Tuple[List[int], List[int]]:
    """Dimensions by count, descending; ties go to the lower index; none without a count.

    >>> rank_columns(torch.tensor([0, 5, 2, 5]))
    ([1, 3, 2], [5, 5, 2])
    """
    order = torch.argsort(counts, descending=True, stable=True)[:limit]
    columns = [int(c) for c in order if counts[c] > 0]
    return columns, [int(counts[c]) for c in columns]


def extract(
    matrices: Sequence[Matrix],
    init: TensorOf,
    tuned: TensorOf,
    sigma: float,
    origin: Origin,
    limit: int = RANKED_COLUMNS,
) -> Tuple[Ticket, Dict[str, int]]:
    """Algorithm 1, steps 2 and 3: the ranked dominated dimensions of every matrix.

    Args:
        matrices: the model's ticket matrices.
        init: gives a tensor of θ0 by its canonical name.
        tuned: gives a tensor of θ by its canonical name.
        sigma: threshold σ > 0 on \\|Δ\\|.
        origin: recorded in the ticket.
        limit: columns kept per matrix.

    Returns:
        the ticket, and the out-weighted parameters of each matrix ``{matrix name: count}``.

    Raises:
        DwtError: σ is not positive, or a tensor of θ has another shape than in θ0.
    """
    _check_sigma(sigma)
    found: Dict[str, Columns] = {}
    totals: Dict[str, int] = {}
    for matrix in matrices:
        weight0, weight, bias0, bias = _tensors(matrix, init, tuned)
        counts = count_out_weighted(weight0, weight, bias0, bias, sigma)
        totals[matrix.name] = int(counts.sum())
        columns, numbers = rank_columns(counts, limit)
        if columns:
            found[matrix.name] = Columns(matrix.shape, tuple(columns), tuple(numbers))
    return Ticket(found, origin), totals


def bottom(
    matrices: Sequence[Matrix],
    init: TensorOf,
    tuned: TensorOf,
    k: int,
    sigma: float,
    origin: Origin,
) -> Ticket:
    """A control: Algorithm 1 upside down, the columns that L1 held back most.

    Of each matrix as many as the dominant top k has there; ranked by out-weighted parameters,
    ascending, then by \\|Δ\\|₁ of the column, ascending, then by index. Arguments as
    :func:`extract`; ``k`` is the number of columns per matrix, at most.

    Raises:
        DwtError: σ is not positive, k is negative, or a tensor of θ has another shape than in θ0.
    """
    if k < 0:
        raise DwtError(f"k: expected a number of columns, 0 or more, got {k}")
    _check_sigma(sigma)
    found = {}
    for matrix in matrices:
        weight0, weight, bias0, bias = _tensors(matrix, init, tuned)
        counts = count_out_weighted(weight0, weight, bias0, bias, sigma)
        columns = delta(weight0, weight).abs_().sum(dim=0)
        distance = torch.cat([columns, delta(bias0, bias).abs_().sum().view(1)]).cpu()
        order = np.lexsort((distance.numpy(), counts.numpy()))
        number = min(k, int((counts > 0).sum()))
        if number:
            found[matrix.name] = Columns(matrix.shape, tuple(int(c) for c in order[:number]))
    return Ticket(found, origin)


def sigma_mask(
    matrices: Sequence[Matrix], init: TensorOf, tuned: TensorOf, sigma: float, origin: Origin
) -> ElementMask:
    """m_σ of every matrix and its bias (equation 2). Arguments as :func:`extract`."""
    _check_sigma(sigma)
    masks = {}
    for matrix in matrices:
        weight = out_weighted(init(matrix.weight), tuned(matrix.weight), sigma)
        bias = out_weighted(init(matrix.bias), tuned(matrix.bias), sigma)
        masks[matrix.name] = torch.cat([weight, bias.unsqueeze(1)], dim=1).cpu()
    return ElementMask(masks, origin)


def random_columns(
    matrices: Sequence[Matrix],
    k: int,
    seed: int,
    origin: Origin,
    like: Optional[Ticket] = None,
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
        width = matrix.in_features + 1
        if not 0 <= k <= width:
            raise DwtError(f"k: matrix {matrix.name} has {width} columns, got k = {k}")
        drawn = generator.sample(range(width), numbers[matrix.name])
        if drawn:
            found[matrix.name] = Columns(matrix.shape, tuple(drawn))
    return Ticket(found, origin)


def random_elements(
    matrices: Sequence[Matrix], percent: float, seed: int, origin: Origin
) -> ElementMask:
    """Random-p %: that share of each matrix (bias included), drawn uniformly (section 5.1).

    Raises:
        DwtError: percent is not in (0, 100].
    """
    if not 0 < percent <= 100:
        raise DwtError(f"percent: expected a number above 0 and up to 100, got {percent}")
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


def _check_sigma(sigma: float) -> None:
    if not sigma > 0:
        raise DwtError(f"sigma: expected a positive threshold, got {sigma}; the paper's is 5e-5")


def _tensors(matrix: Matrix, init: TensorOf, tuned: TensorOf) -> List[Tensor]:
    """W of θ0, W of θ, bias of θ0, bias of θ."""
    tensors = [f(name) for name in (matrix.weight, matrix.bias) for f in (init, tuned)]
    expected = [matrix.shape] * 2 + [(matrix.out_features,)] * 2
    for tensor, shape in zip(tensors, expected):
        if tuple(tensor.shape) != shape:
            raise DwtError(
                f"{matrix.name}: expected shape {shape} as in the pre-trained model, got "
                f"{tuple(tensor.shape)}; compare checkpoints of one model"
            )
    return tensors


def movement(pretrained: Pretrained, tuned: Tuned) -> Tuple[List[Matrix], TensorOf, TensorOf]:
    """A model's matrices, θ0 and θ of two files: the first arguments of :func:`extract`.

    θ is the fp32 copies of a half-precision run, where its checkpoint keeps them.
    """
    return (
        pretrained.matrices,
        tensors_of(pretrained.tensors, pretrained.path, tuned.dtype),
        tensors_of(tuned.theta, tuned.path),
    )


def tensors_of(
    tensors: Mapping[str, Tensor], where: str, dtype: Optional[torch.dtype] = None
) -> TensorOf:
    """Look tensors up by canonical name; a missing one is an error that names the file.

    Args:
        tensors: ``{canonical name: tensor}``.
        where: the file, for the error.
        dtype: cast to it. θ0 must be in the dtype of the model that was trained, from whose rounded
            values fp32 copies begin; None leaves tensors as they are.
    """

    def get(name: str) -> Tensor:
        try:
            return tensors[name].to(dtype or tensors[name].dtype)
        except KeyError:
            raise DwtError(
                f"{where}: expected tensor {name}, found none; it is a checkpoint of another model"
            ) from None

    return get
