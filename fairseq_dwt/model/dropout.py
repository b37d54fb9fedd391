"""Dropout whose draws come in bulk: 16 bits of a draw decide a number.

On a CPU torch draws one number after the other, and its dropout multiplies by bytes, which is slow.
Here one draw of 64 bits decides four numbers, and a byte a number
is kept. Numbers are dropped with the probability that is nearest in 65,536ths (0.1 becomes 6,554 /
65,536 = 0.1000061), and what is left is scaled by it, so that the mean is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_STEPS = 1 << 16


def dropped(p: float) -> float:
    """The probability in [0, 1] that numbers are dropped with where ``p`` is asked for."""
    return min(round(p * _STEPS), _STEPS) / _STEPS


def draw_kept(shape: Sequence[int], p: float, device: torch.device) -> Tensor:
    """Which numbers stay: bool, ``shape``, each False with probability :func:`dropped` (p)."""
    count = prod(shape)
    if device.type != "cpu":
        return torch.rand(shape, device=device) >= dropped(p)
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    threshold = round(dropped(p) * _STEPS) - _STEPS // 2
    if threshold == _STEPS // 2:
        return torch.zeros(tuple(shape), dtype=torch.bool)
    return (draws.view(torch.int16)[:count] >= threshold).view(tuple(shape))


def factor_of(kept: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """What numbers are multiplied with: 0, or 1 / (1 − p)."""
    # a product with bytes is ten times as slow as this cast and a product of floats
    return kept.to(dtype).mul_(1 / max(1 - dropped(p), 1 / _STEPS))


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        kept = draw_kept(x.shape, p, x.device)
        ctx.p = p
        ctx.save_for_backward(kept)
        return factor_of(kept, p, x.dtype).mul_(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return factor_of(kept, ctx.p, grad.dtype).mul_(grad), None


def dropout(x: Tensor, p: float) -> Tensor:
    """Numbers of x are dropped with probability p, the others scaled."""
    if p <= 0:
        return x
    if x.device.type != "cpu":
        return torch.native_dropout(x, p, True)[0]
    out: Tensor = _Dropout.apply(x, p)
    return out
