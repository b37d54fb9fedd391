"""Dropout whose draws come in bulk, and of which a seed is kept: 16 bits of a draw decide a number.

On a CPU torch draws one number after the other, keeps a byte of each, and its dropout multiplies by
bytes, which is slow. Here one draw of 64 bits decides four numbers, and the backward pass draws
again. Numbers are dropped with the probability that is nearest in 65,536ths (0.1 becomes 6,554 /
65,536 = 0.1000061), and what is left is scaled by it, so that the mean is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_STEPS = 1 << 16


def dropped(p: float) -> float:
    """The probability in [0, 1] that numbers are dropped with where ``p`` is asked for."""
    return min(round(p * _STEPS), _STEPS) / _STEPS


@dataclass(frozen=True)
class Draw:
    """Which numbers are dropped: the same ones whenever it is asked.

    Attributes:
        p: the probability that is asked for.
        seed: of the draw.
    """

    p: float
    seed: int

    @classmethod
    def of(cls, p: float) -> Draw:
        """A new draw, seeded by torch's generator."""
        return cls(p, int(torch.empty((), dtype=torch.int64).random_()))

    def kept(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Which numbers stay: bool, ``shape``, each False with probability :func:`dropped` (p)."""
        generator = torch.Generator(device).manual_seed(self.seed)
        if generator.device.type != "cpu":
            return torch.rand(shape, device=device, generator=generator) >= dropped(self.p)
        count = prod(shape)
        draws = torch.empty((count + 3) // 4, dtype=torch.int64)
        draws.random_(-(2**63), None, generator=generator)
        threshold = round(dropped(self.p) * _STEPS) - _STEPS // 2
        if threshold == _STEPS // 2:
            return torch.zeros(tuple(shape), dtype=torch.bool)
        return (draws.view(torch.int16)[:count] >= threshold).view(tuple(shape))

    def factor(self, like: Tensor) -> Tensor:
        """What the numbers of ``like`` are multiplied with: 0, or 1 / (1 − p)."""
        # a product with bytes is ten times as slow as this cast and a product of floats
        kept = self.kept(like.shape, like.device).to(like.dtype)
        return kept.mul_(1 / max(1 - dropped(self.p), 1 / _STEPS))


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        ctx.draw = Draw.of(p)
        return ctx.draw.factor(x).mul_(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.draw.factor(grad).mul_(grad), None


def dropout(x: Tensor, p: float) -> Tensor:
    """Numbers of x are dropped with probability p, the others scaled."""
    if p <= 0:
        return x
    if x.device.type != "cpu":
        return torch.native_dropout(x, p, True)[0]
    out: Tensor = _Dropout.apply(x, p)
    return out
