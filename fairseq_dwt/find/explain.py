"""Why these columns: what of the weights and of the text names the columns of a ticket?

Of every matrix, one number a column for each candidate reason: the layer norm before it (γ and β by
their distance from their median), the size of its inputs, the weights themselves, the gradient at
θ0, and what L1 fine-tuning moved. Each ranks the columns; how well a reason names a ticket's is the
Jaccard similarity of as many of its first columns as the ticket has in that matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..any_checkpoint import AnyPretrained, AnyTuned
from ..checkpoint import Pretrained, Tuned
from ..errors import DwtError
from ..model.names import Matrix
from ..ticket import Columns, Ticket
from ..ticket.columns import ranking
from ..ticket.similarity import Similarity, similarity
from .dominant import TensorOf, tensors_of
from .forward import InputSizes
from .oneshot import ColumnScores

#: ``{reason: {matrix name: (in_features + 1,), the last is the bias}}``.
Reasons = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Seen:
    """What some batches show of a model at θ0.

    Attributes:
        pretrained: θ0's file.
        norms: of :func:`norms_before`.
        sizes: of the matrices' inputs, without dropout.
        gradients: ``{matrix name: Σ ‖∂L/∂W_j‖²}``, fp64 (in_features + 1,), with dropout.
    """

    pretrained: Pretrained | AnyPretrained
    norms: Mapping[str, nn.Module]
    sizes: InputSizes
    gradients: Mapping[str, Tensor]


def look_at(
    model: nn.Module,
    layers: Mapping[str, Matrix],
    pretrained: Pretrained | AnyPretrained,
    loss: Callable[[Any], Tensor],
    compute: Callable[[Any], Any],
    batches: Iterable[Any],
) -> Seen:
    """What some batches show of a model at θ0.

    Args:
        model: of fairseq, in training mode, whose attention calls its projection modules.
        layers: its linear layers that are ticket matrices.
        pretrained: θ0's file.
        loss: of a batch.
        compute: runs the model on a batch.
        batches: all are looked at.

    Raises:
        DwtError: there is no batch.
    """
    sizes, scores = InputSizes(model, layers), ColumnScores(model, layers=layers)
    norms: dict[str, nn.Module] | None = None
    for batch in batches:
        model.eval()
        if norms is None:
            norms = norms_before(model, layers, partial(compute, batch))
        with sizes:
            sizes.look(partial(compute, batch))
        model.train()
        with scores, torch.enable_grad():
            scores.backward(loss(batch))
    if norms is None:
        raise DwtError("explain: expected batches of train data, got none")
    return Seen(pretrained, norms, sizes, scores.sums)


def norms_before(
    model: nn.Module, layers: Mapping[str, Matrix], compute: Callable[[], Any]
) -> dict[str, nn.Module]:
    """The layer norm whose output a matrix reads, ``{matrix name: norm}``.

    It is found by looking: what comes out of a norm goes into the matrix as it is. O and FC2 read
    others, and are left out in most models.

    Args:
        model: of fairseq, in evaluation mode.
        layers: its linear layers that are ticket matrices, ``{module name: matrix}``.
        compute: runs the model on a batch.
    """
    outputs: dict[nn.Module, Tensor] = {}
    found: dict[str, nn.Module] = {}

    def keep(norm: nn.Module, _inputs: Any, output: Tensor) -> None:
        outputs.pop(norm, None)
        outputs[norm] = output.flatten(0, -2)

    def look(name: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        tokens = inputs[0].flatten(0, -2)
        token = tokens[tokens.abs().sum(1).argmax()]  # padding may have been set to zero since
        for norm, output in reversed(outputs.items()):
            if output.shape[1] == len(token) and bool((output == token).all(1).any()):
                found[name] = norm
                break

    modules = dict(model.named_modules())
    norms = [m for m in modules.values() if type(m).__name__.endswith("LayerNorm")]
    hooks = [norm.register_forward_hook(keep) for norm in norms]
    for layer, matrix in layers.items():
        hooks.append(modules[layer].register_forward_pre_hook(partial(look, matrix.name)))
    try:
        with torch.no_grad():
            compute()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def moved_by(pretrained: Pretrained | AnyPretrained, tuned: Tuned | AnyTuned) -> dict[str, Tensor]:
    """Σ_i |Δ_ij| of each column, ``{matrix name: fp64 (in_features + 1,)}``.

    Raises:
        DwtError: ``tuned`` is a checkpoint of another model.
    """
    init = tensors_of(pretrained.tensors, pretrained.path, tuned.dtype)
    theta, found = tensors_of(tuned.theta, tuned.path), {}
    for matrix in pretrained.matrices:
        for name in (matrix.weight, matrix.bias):
            expected, got = tuple(init(name).shape), tuple(theta(name).shape)
            if expected != got:
                raise DwtError(
                    f"{tuned.path}: {name}: expected {expected}, got {got}; it is a checkpoint of "
                    "another model"
                )
        found[matrix.name] = (_columns(theta, matrix) - _columns(init, matrix)).abs().sum(0)
    return found


def reasons(seen: Seen, moved: Mapping[str, Tensor] | None = None) -> Reasons:
    """All of them.

    Args:
        seen: of some batches.
        moved: by L1, of :func:`moved_by`; without it nothing is said of |Δ|.
    """
    found: Reasons = {"norm's γ": {}, "norm's β": {}}
    sizes, weights = seen.sizes, tensors_of(seen.pretrained.tensors, seen.pretrained.path)

    def say(reason: str, matrix: Matrix, values: Tensor) -> None:
        found.setdefault(reason, {})[matrix.name] = values.double()

    for matrix in sizes.matrices.values():
        norm = seen.norms.get(matrix.name)
        if norm is not None:  # the bias has no norm before it: it comes last
            for reason, part in (("norm's γ", "weight"), ("norm's β", "bias")):
                values = getattr(norm, part).detach().double().cpu()
                # outliers lie on either side: a small γ keeps a large dimension in bounds
                values = (values - values.median()).abs()
                say(reason, matrix, torch.cat([values, values.new_zeros(1)]))
        of_tokens, of_means, of_first = sizes.rms(matrix.name)
        say("inputs, tokens", matrix, of_tokens)
        say("inputs, means of rows", matrix, of_means)
        say("inputs, <s>", matrix, of_first)
        say("means and <s> (forward)", matrix, sizes.scores(matrix.name))
        say("weights", matrix, _columns(weights, matrix).norm(dim=0))
        say("gradient (one-shot)", matrix, seen.gradients[matrix.name].sqrt())
        if moved is not None:
            say("moved by L1", matrix, moved[matrix.name])
    return {reason: by_matrix for reason, by_matrix in found.items() if by_matrix}


def overlaps(found: Reasons, ticket: Ticket, k: int) -> dict[str, Similarity]:
    """How well each reason names a ticket's columns, in the matrices of which it speaks, if any.

    Args:
        found: of :func:`reasons`.
        ticket: to explain.
        k: columns per matrix, at most.

    Raises:
        DwtError: the ticket has no column in a matrix of which any reason speaks.
    """
    wanted, similarities = ticket.top(k), {}
    for reason, scores in found.items():
        told, asked = {}, {}
        for name, entry in wanted.matrices.items():
            if name in scores and entry.columns:
                first = ranking(scores[name] + 1e-300, len(entry.columns))
                asked[name], told[name] = entry, Columns(entry.shape, tuple(first))
        if asked:
            similarities[reason] = similarity(
                replace(wanted, matrices=asked), replace(wanted, matrices=told)
            )
    if not similarities:
        raise DwtError("explain: expected a ticket with columns in the model's matrices, got none")
    return similarities


def _columns(tensors: TensorOf, matrix: Matrix) -> Tensor:
    """[W, b] of a matrix, fp64 (out_features, in_features + 1)."""
    weight, bias = tensors(matrix.weight).double(), tensors(matrix.bias).double()
    return torch.cat([weight, bias[:, None]], dim=1)
