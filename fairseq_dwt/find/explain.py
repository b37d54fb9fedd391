"""Why these columns: what of the weights and of the text names the columns of a ticket?

Of every matrix, one number a column for each candidate reason: the layer norm before it (γ and β by
their distance from their median), the size of its inputs, the weights themselves, the gradient at
θ0, and what L1 fine-tuning moved. Each ranks the columns; how well a reason names a ticket's is the
Jaccard similarity of as many of its first columns as the ticket has in that matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..any_checkpoint import AnyTuned
from ..checkpoint import Pretrained, Tuned
from ..errors import DwtError
from ..model.names import ENCODER, Matrix
from ..ticket import Columns, Ticket
from ..ticket.columns import ranking
from ..ticket.similarity import Similarity, similarity
from .dominant import tensors_of
from .forward import InputSizes

#: ``{reason: {matrix name: (in_features + 1,), the last is the bias}}``.
Reasons = dict[str, dict[str, Tensor]]


def reasons(
    pretrained: Pretrained,
    sizes: InputSizes,
    gradients: Mapping[str, Tensor],
    tuned: Tuned | AnyTuned | None = None,
) -> Reasons:
    """All of them, of a RoBERTa.

    Args:
        pretrained: θ0.
        sizes: of some text's inputs.
        gradients: ``{matrix name: Σ ‖∂L/∂W_j‖²}``.
        tuned: the L1 fine-tuned checkpoint; without it nothing is said of |Δ|.
    """
    found: Reasons = {}

    def say(reason: str, matrix: Matrix, values: Tensor) -> None:
        found.setdefault(reason, {})[matrix.name] = values.double()

    for matrix in pretrained.matrices:
        norm = norm_before(pretrained, matrix)
        if norm is not None:  # the bias has no norm before it: it comes last
            for reason, part in (("norm's γ", "weight"), ("norm's β", "bias")):
                values = pretrained.tensors[f"{norm}.{part}"].double()
                # outliers lie on either side: a small γ keeps a large dimension in bounds
                values = (values - values.median()).abs()
                say(reason, matrix, torch.cat([values, values.new_zeros(1)]))
        of_tokens, of_means, of_first = sizes.rms(matrix.name)
        say("inputs, tokens", matrix, of_tokens)
        say("inputs, means of rows", matrix, of_means)
        say("inputs, <s>", matrix, of_first)
        say("means and <s> (forward)", matrix, sizes.scores(matrix.name))
        say("weights", matrix, _columns(pretrained.tensors, matrix).norm(dim=0))
        say("gradient (one-shot)", matrix, gradients[matrix.name].sqrt())
        if tuned is not None:
            init = tensors_of(pretrained.tensors, pretrained.path, tuned.dtype)
            before = _columns({n: init(n) for n in (matrix.weight, matrix.bias)}, matrix)
            say("moved by L1", matrix, (_columns(tuned.theta, matrix) - before).abs().sum(0))
    return found


def norm_before(pretrained: Pretrained, matrix: Matrix) -> str | None:
    """Name of the layer norm whose output a matrix reads; None of O and FC2, which read others."""
    layer = f"{ENCODER}layers.{matrix.layer}"
    first = pretrained.settings.get("encoder_normalize_before")
    if matrix.kind in ("Q", "K", "V"):
        below = f"{ENCODER}layers.{matrix.layer - 1}.final_layer_norm"
        name = f"{layer}.self_attn_layer_norm" if first else below
        name = f"{ENCODER}layernorm_embedding" if not first and matrix.layer == 0 else name
    elif matrix.kind == "FC1":
        name = f"{layer}.final_layer_norm" if first else f"{layer}.self_attn_layer_norm"
    else:
        return None
    return name if f"{name}.weight" in pretrained.tensors else None


def overlaps(found: Reasons, ticket: Ticket, k: int) -> dict[str, Similarity]:
    """How well each reason names a ticket's columns, in the matrices of which it speaks.

    Args:
        found: of :func:`reasons`.
        ticket: to explain.
        k: columns per matrix, at most.

    Raises:
        DwtError: the ticket has no column in any matrix of which a reason speaks.
    """
    wanted, similarities = ticket.top(k), {}
    for reason, scores in found.items():
        told, asked = {}, {}
        for name, entry in wanted.matrices.items():
            if name in scores and entry.columns:
                first = ranking(scores[name] + 1e-300, len(entry.columns))
                asked[name], told[name] = entry, Columns(entry.shape, tuple(first))
        if not asked:
            raise DwtError(
                f"explain: expected a ticket with columns in the matrices of {reason}, got none"
            )
        similarities[reason] = similarity(
            replace(wanted, matrices=asked), replace(wanted, matrices=told)
        )
    return similarities


def _columns(tensors: Mapping[str, Tensor], matrix: Matrix) -> Tensor:
    """[W, b] of a matrix, fp64 (out_features, in_features + 1)."""
    weight, bias = tensors[matrix.weight].double(), tensors[matrix.bias].double()
    return torch.cat([weight, bias[:, None]], dim=1)
