"""Where a batch's real tokens lie, and attention among them: rows in groups of similar length."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .again import Again
from .attention import softmax_of, widened
from .dropout import Draw

#: Rows are grouped down to this share of the longest one's length.
_SIMILAR = 0.8


@dataclass(frozen=True)
class Group:
    """Rows of similar length, as attention computes them.

    Attributes:
        rows: int64 (b,), of the batch.
        index: int64 (b, t), the packed token at each place; at padding any token.
        excluded: bool (b, t), True at padding; None where there is none.
        tokens: int64 (n,), the packed tokens of these rows.
        places: int64 (n,), where in (b · t) they lie.
    """

    rows: Tensor
    index: Tensor
    excluded: Tensor | None
    tokens: Tensor
    places: Tensor


class Packing:
    """Where the real tokens of a batch lie.

    Args:
        real: bool (batch, length), False at padding.

    Attributes:
        firsts: int64 (batch,), the packed index of each row's first token.
        read_first: whether nothing but the first tokens is read of what comes next.
    """

    def __init__(self, real: Tensor):
        self.real = real
        self.lengths = real.sum(1)
        self.firsts = self.lengths.cumsum(0) - self.lengths
        self.read_first = False

    def of_first(self) -> Packing:
        """The same, of a layer of which nothing but the first tokens is read."""
        packing = copy.copy(self)
        packing.read_first = True
        return packing

    @cached_property
    def groups(self) -> list[Group]:
        """The rows with tokens, in groups of similar length."""
        lengths, device = self.lengths.tolist(), self.real.device
        order = sorted(
            (row for row in range(len(lengths)) if lengths[row]), key=lambda r: lengths[r]
        )
        groups: list[Group] = []
        while order:
            longest = lengths[order[-1]]
            chosen = [row for row in order if lengths[row] >= _SIMILAR * longest]
            order = order[: len(order) - len(chosen)]
            rows = torch.tensor(sorted(chosen), device=device)
            own = self.lengths[rows]
            place = torch.arange(longest, device=device)
            inside = place < own[:, None]
            index = self.firsts[rows][:, None] + torch.minimum(place, own[:, None] - 1)
            places = inside.view(-1).nonzero().squeeze(1)
            even = bool(inside.all())
            groups.append(
                Group(rows, index, None if even else ~inside, index.view(-1)[places], places)
            )
        return groups

    def pack(self, x: Tensor) -> Tensor:
        """(batch, length, …) → (tokens, …)."""
        return x[self.real]

    def unpack(self, x: Tensor) -> Tensor:
        """(tokens, embed_dim) → (length, batch, embed_dim), zero at padding."""
        whole = x.new_zeros(*self.real.shape, x.shape[-1])
        whole[self.real] = x
        return whole.transpose(0, 1)


class PackedSoftmax(torch.autograd.Function):
    """softmax(QKᵀ/√d)V of packed rows; the backward pass computes the softmax again.

    q: (tokens, embed_dim), or (batch, embed_dim) where only first tokens ask; k, v: (tokens,
    embed_dim). Keeps them; with ``again``, which gives q and k, its ``source`` in their place.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        packing: Packing,
        p: float,
        again: Again | None = None,
        source: Tensor | None = None,
    ) -> Tensor:
        ctx.heads, ctx.packing, ctx.again = heads, packing, again
        ctx.first = len(q) != len(k)
        ctx.draws = [Draw.of(p) if p > 0 else None for _ in packing.groups]
        out = torch.empty_like(q)
        for group, draw in zip(packing.groups, ctx.draws):
            parts = _of_group(group, ctx.first, heads, q, k, v)
            weights = softmax_of(*parts[:2], group.excluded)
            if draw is not None:
                weights = draw.factor(weights).mul_(weights)
            _to_rows(out, torch.bmm(weights, parts[2]), group, ctx.first, heads)
        given = 0 if again is None else len(again.layers)  # k, or q and k
        ctx.save_for_backward(q if given < 2 else None, k if given < 1 else None, v, source)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, source = ctx.saved_tensors
        if ctx.again is not None:
            *asked, k = ctx.again(source)
            (q,) = asked or (q,)
        heads, packing, first = ctx.heads, ctx.packing, ctx.first
        grads = [torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)]
        for group, draw in zip(packing.groups, ctx.draws):
            q_, k_, v_ = _of_group(group, first, heads, q, k, v)
            grad_ = _split(grad, group.rows[:, None] if first else group.index, heads)
            if group.excluded is not None and not first:
                # what lies at padding is not read
                grad_ = (
                    grad_.unflatten(0, (-1, heads))
                    .masked_fill(group.excluded[:, None, :, None], 0)
                    .flatten(0, 1)
                )
            weights = softmax_of(q_, k_, group.excluded)
            grad_weights = torch.bmm(grad_, v_.transpose(1, 2))
            dropped = weights
            if draw is not None:
                factor = draw.factor(weights)
                dropped, grad_weights = weights * factor, grad_weights.mul_(factor)
            grad_v = torch.bmm(dropped.transpose(1, 2), grad_)
            scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            scale = q_.shape[-1] ** -0.5
            grad_q = torch.bmm(scores, k_).mul_(scale)
            grad_k = torch.bmm(scores.transpose(1, 2), q_).mul_(scale)
            _to_rows(grads[0], grad_q, group, first, heads)
            _to_rows(grads[1], grad_k, group, False, heads)
            _to_rows(grads[2], grad_v, group, False, heads)
        return (*grads, None, None, None, None, None)


def _split(x: Tensor, index: Tensor, heads: int) -> Tensor:
    """Rows of packed x at ``index`` (b, t) → (b · heads, t, head_dim)."""
    b, t = index.shape
    rows = x.index_select(0, index.reshape(-1)).view(b, t, heads, -1)
    return widened(rows.transpose(1, 2).reshape(b * heads, t, -1))[0]


def _of_group(
    group: Group, first: bool, heads: int, q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    asked = group.rows[:, None] if first else group.index
    return _split(q, asked, heads), _split(k, group.index, heads), _split(v, group.index, heads)


def _to_rows(out: Tensor, x: Tensor, group: Group, first: bool, heads: int) -> None:
    """Write (b · heads, t, head_dim) to where the group's rows lie in packed ``out``."""
    b = len(group.rows)
    rows = x.view(b, heads, x.shape[1], -1).transpose(1, 2).reshape(b * x.shape[1], -1)
    if first:
        out.index_copy_(0, group.rows, rows.to(out.dtype))
    else:
        rows = rows if group.excluded is None else rows.index_select(0, group.places)
        out.index_copy_(0, group.tokens, rows.to(out.dtype))
