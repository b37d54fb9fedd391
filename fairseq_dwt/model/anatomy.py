"""Of a live model: its ticket matrices, and its parameters' shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from .names import Matrix, canonical_name, ticket_matrices

__all__ = ["parameter_shapes", "ticket_layers"]


def parameter_shapes(model: nn.Module) -> dict[str, torch.Size]:
    """The parameters of ``model`` as ``{name: shape}``."""
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def ticket_layers(shapes: Mapping[str, Sequence[int]]) -> dict[str, Matrix]:
    """The linear layers of a model that are ticket matrices, in the same order.

    Args:
        shapes: ``{parameter name in the model, wrappers' prefixes included: shape}``.

    Returns:
        ``{module name in the model: matrix}``.
    """
    named = {canonical_name(name): name for name in shapes}
    matrices = ticket_matrices({c: shapes[n] for c, n in named.items() if c is not None})
    return {named[m.weight][: -len(".weight")]: m for m in matrices}
