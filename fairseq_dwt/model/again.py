"""What the backward pass computes again instead of keeping it.

A layer whose weights are frozen keeps nothing of its input. So queries and keys are
products of a layer norm's output that nobody keeps; but the norm keeps its own input. From that
they are computed again, by the same operations: the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .products import linear


class Again:
    """Linear layers of one layer norm's output.

    Args:
        norm: the layer norm.
        layers: each with ``weight`` (out_features, in_features), frozen, and ``bias``.
    """

    def __init__(self, norm: nn.Module, layers: Sequence[Any]):
        self.norm, self.layers = norm, layers

    def __call__(self, source: Tensor) -> list[Tensor]:
        """The norm's input (tokens, in_features) → (tokens, out_features) of each layer."""
        with torch.no_grad():
            x = self.norm(source)
            return [linear(x, layer.weight, layer.bias) for layer in self.layers]


def normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """``norm(x)``, which remembers where it comes from for :func:`again`."""
    y: Tensor = norm(x)
    if y.requires_grad and type(norm) is nn.LayerNorm:
        y._normalised = (norm, x)  # type: ignore[attr-defined]
    return y


def again(y: Tensor, layers: Sequence[Any]) -> tuple[Again, Tensor] | None:
    """How to compute ``layers`` of y again, and from what.

    None where it would spare nothing: y is not a norm's output, or they keep it anyway.
    """
    made_from: tuple[nn.Module, Tensor] | None = getattr(y, "_normalised", None)
    if made_from is None or any(layer.weight.requires_grad for layer in layers):
        return None
    norm, source = made_from
    return Again(norm, layers), source
