"""One-shot tickets: the columns with the largest gradient at θ0, without the L1 fine-tuning.

L1 holds a weight at its pre-trained value unless the loss pulls harder than λ. Which column that
lets through can be seen before any update: of each matrix, rank the columns by

    s_j = ( Σ_b ‖∂L_b/∂W_j‖² )^½        over some batches b, all at θ0

where L_b is the mean loss of a batch and the bias is the column whose input is 1. The gradients are
never kept: a backward pass through frozen weights hands each matrix its input x and the gradient dy
of its output, and dW = dyᵀ[x, 1] becomes one number a column on the spot. A matrix that a batch
goes through several times, as where sentences are ranked, has one dW: x and dy wait for the others.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import DwtError
from ..model.anatomy import parameter_shapes, require_input_grad, ticket_layers
from ..model.names import Matrix
from ..ticket import Columns, Origin, Ticket
from ..ticket.columns import RANKED_COLUMNS, ranking
from ..ticket.similarity import similarity

Batch = TypeVar("Batch")
#: Scores one matrix's columns in one batch, to be added up: (x, dy) → (…, in_features + 1).
Score = Callable[[Tensor, Tensor], Tensor]

#: Batches that are looked at, at most, where none are asked for.
MOST_BATCHES = 64
#: The ranking has settled where twice the batches give a top 3 that is this similar.
SETTLED = 0.9
#: Batches after which a matrix without a gradient is not waited for: nothing of the loss reads it.
_PATIENCE = 16


@dataclass(frozen=True)
class Settling:
    """How alike the tickets of this many batches and of half as many are.

    Attributes:
        batches: number of batches, a power of two.
        top1: per-matrix Jaccard similarity at k = 1, in [0, 1].
        top3: the same at k = 3.
    """

    batches: int
    top1: float
    top3: float


def column_norms(x: Tensor, dy: Tensor) -> Tensor:
    """‖dW_j‖² of each column j of dW = dyᵀ[x, 1]; the last is the bias.

    Args:
        x: input of the linear layer, (..., in_features).
        dy: gradient of its output, (..., out_features), leading axes as ``x``.

    Returns:
        fp32, (in_features + 1,), on the device of ``x``.

    >>> column_norms(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0], [2.0]]))
    tensor([9., 4., 9.])
    """
    rows, inputs = dy.flatten(0, -2), x.flatten(0, -2)
    # padding has no gradient, and in the last layer only the first token has one
    live = rows.any(dim=1)
    rows, inputs = rows[live].float(), inputs[live].float()
    inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)
    tokens, (outs, ins) = len(rows), (rows.shape[1], inputs.shape[1])
    if tokens * (outs + ins) < outs * ins:
        # ‖dW_j‖² = x_jᵀ (dy dyᵀ) x_j: a product of tokens by tokens, and no dW at all
        return (inputs * (rows @ rows.t() @ inputs)).sum(0).clamp_min_(0)
    return (rows.t() @ inputs).square_().sum(0)


class ColumnScores:
    """Adds up a score of every column while losses of ``model`` are back-propagated.

    Inside its context all parameters are frozen and each ticket matrix's input x and output
    gradient dy go through ``score`` in :meth:`backward`; nothing of it is kept but the sum. The
    model's training mode is the caller's to choose.

    Args:
        model: a RoBERTa at θ0 whose attention calls its projection modules
            (:func:`~fairseq_dwt.model.encoder.use_sdpa`).
        score: of one matrix in one batch; of several passes x and dy come as rows, one after
            the other.
        layers: the linear layers of the model's ticket matrices; by default a RoBERTa's.

    Attributes:
        sums: ``{matrix name: Σ score}``, fp64 (in_features + 1,), on the CPU.
    """

    def __init__(
        self,
        model: nn.Module,
        score: Score = column_norms,
        layers: Mapping[str, Matrix] | None = None,
    ):
        self._model, self._score = model, score
        self._layers = ticket_layers(parameter_shapes(model)) if layers is None else layers
        self.matrices: dict[str, Matrix] = {m.name: m for m in self._layers.values()}
        self.sums: dict[str, Tensor] = {
            name: torch.zeros(m.in_features + 1, dtype=torch.float64)
            for name, m in self.matrices.items()
        }

    def __enter__(self) -> ColumnScores:
        modules = dict(self._model.named_modules())
        self._calls: dict[str, Counter[bool]] = {name: Counter() for name in self.sums}
        self._waiting: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in self.sums}
        self._hooks = []
        for layer, matrix in self._layers.items():
            self._hooks += [
                modules[layer].register_forward_pre_hook(require_input_grad),
                modules[layer].register_forward_hook(self._hook(matrix.name)),
            ]
        self._required = {p: p.requires_grad for p in self._model.parameters()}
        for parameter in self._required:
            parameter.requires_grad_(False)
        return self

    def __exit__(self, *exception: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        for parameter, required in self._required.items():
            parameter.requires_grad_(required)

    def backward(self, loss: Tensor) -> None:
        """Back-propagate a batch's loss, a scalar, and add up its scores."""
        if loss.requires_grad:  # not where layerdrop skips every layer
            loss.backward()
        for name in self.sums:  # what a loss did not read of several passes is not waited for
            self._add(name)

    def _add(self, name: str) -> None:
        """Score what the backward pass has brought; dW of several passes is their sum."""
        seen, self._waiting[name] = self._waiting[name], []
        self._calls[name].clear()
        if not seen:
            return
        x, dy = seen[0]
        if len(seen) > 1:
            x, dy = (torch.cat([t.flatten(0, -2) for t in each]) for each in zip(*seen))
        self.sums[name] = self.sums[name] + self._score(x, dy).double().cpu()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def forward(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            x, calls = inputs[0].detach(), self._calls[name]
            # gradient checkpointing computes twice what it computes once without gradients
            calls[torch.is_grad_enabled()] += 1

            def backward(dy: Tensor) -> None:
                self._waiting[name].append((x, dy))
                if len(self._waiting[name]) == max(calls.values()):
                    self._add(name)

            if output.requires_grad:
                output.register_hook(backward)
            # fairseq's own attention scales queries in place, and the hook would be lost
            return output.clone() if name.endswith("q_proj") else output

        return forward

    def complete(self) -> bool:
        """Whether every matrix has had a gradient: layerdrop skips some in some batches."""
        return all(bool(score.any()) for score in self.sums.values())

    def ticket(self, origin: Origin, limit: int = RANKED_COLUMNS) -> Ticket:
        """The columns of each matrix by their sum, descending; ties go to the lower index.

        Args:
            origin: recorded in the ticket.
            limit: columns kept per matrix.

        Raises:
            DwtError: a sum is not finite, or all of them are zero.
        """
        return rank(self.sums, {n: m.shape for n, m in self.matrices.items()}, origin, limit)


def rank(
    scores: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, int]],
    origin: Origin,
    limit: int = RANKED_COLUMNS,
) -> Ticket:
    """The ticket of ``{matrix name: scores (in_features + 1,)}`` (:meth:`ColumnScores.ticket`)."""
    found = {}
    for name, score in scores.items():
        if not bool(score.isfinite().all()):
            raise DwtError(
                f"{origin.method}: matrix {name}: expected finite numbers, got others; what the "
                "model computes at the pre-trained weights is none: check the data and the model"
            )
        columns = tuple(ranking(score, limit))
        if columns:
            found[name] = Columns(shapes[name], columns)
    if not found:
        raise DwtError("oneshot: expected a loss that depends on the model, got no gradient")
    return Ticket(found, origin)


def find_ticket(
    model: nn.Module,
    loss: Callable[[Batch], Tensor],
    batches: Iterable[Batch],
    origin: Origin,
    number: int | None = None,
    on_settling: Callable[[Settling], None] = lambda settling: None,
    layers: Mapping[str, Matrix] | None = None,
    limit: int = RANKED_COLUMNS,
) -> tuple[Ticket, list[Settling]]:
    """The one-shot ticket of ``model``, which is at θ0 and stays there.

    Args:
        model: see :class:`ColumnScores`.
        loss: the mean loss of a batch, a scalar, computed by ``model``.
        batches: in the order in which they are to be looked at.
        number: batches to look at; None goes on until doubling them changes the top 3 of each
            matrix little (similarity of 0.9), or to 64.
        on_settling: called at every power of two.
        layers: see :class:`ColumnScores`.
        limit: columns kept per matrix.

    Returns:
        the ticket, and how its ranking settled.

    Raises:
        DwtError: there is no batch, fewer than ``number``, or a gradient is not finite.
    """
    with ColumnScores(model, layers=layers) as scores:

        def look(batch: Batch) -> None:
            with torch.enable_grad():
                scores.backward(loss(batch))

        ticket_of = functools.partial(scores.ticket, limit=limit)
        return settle(ticket_of, look, batches, origin, number, on_settling, scores.complete)


def settle(
    ticket_of: Callable[[Origin], Ticket],
    look: Callable[[Batch], None],
    batches: Iterable[Batch],
    origin: Origin,
    number: int | None = None,
    on_settling: Callable[[Settling], None] = lambda settling: None,
    complete: Callable[[], bool] = lambda: True,
) -> tuple[Ticket, list[Settling]]:
    """Look at batches until the ranking of what was seen has settled.

    Args:
        ticket_of: the ticket of what was seen so far.
        look: at a batch.
        batches, origin, number, on_settling: as for :func:`find_ticket`, and so is what it returns.
        complete: whether every matrix was seen; before that none of the first rankings is compared.

    Raises:
        DwtError: there is no batch, or fewer than ``number``.
    """
    word = origin.method
    if number is not None and number < 1:
        raise DwtError(f"{word}: expected one batch or more, got {number}")
    most, settled = (MOST_BATCHES, SETTLED) if number is None else (number, None)
    history: list[Settling] = []
    earlier, seen = None, 0
    for seen, batch in enumerate(batches, start=1):
        look(batch)
        if seen & (seen - 1) == 0 and (complete() or seen >= _PATIENCE):
            ticket = ticket_of(origin)
            if earlier is not None:
                history.append(_settling(seen, earlier, ticket))
                on_settling(history[-1])
                if settled is not None and history[-1].top3 >= settled:
                    break
            earlier = ticket
        if seen == most:
            break
    if seen == 0 or (number is not None and seen < number):
        raise DwtError(f"{word}: expected {number or 'some'} batches of train data, got {seen}")
    return ticket_of(replace(origin, num_batches=seen)), history


def _settling(batches: int, earlier: Ticket, now: Ticket) -> Settling:
    top1, top3 = (similarity(earlier.top(k), now.top(k)).per_matrix for k in (1, 3))
    return Settling(batches, top1, top3)
