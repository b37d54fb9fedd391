"""Multi-head attention of projected queries, keys and values."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .products import is_slow


class _DropoutAttention(torch.autograd.Function):
    """softmax(QKᵀ/√d) with dropout, times V; the backward pass computes the softmax again.

    For the CPU, where torch's fused attention has no dropout and the unfused one keeps six tensors.
    Keeps q, k, v and one byte a weight. All of q, k, v: (batch · heads, length, head_dim). In half
    precision without instructions for it, everything between them and the result is fp32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        excluded: Tensor | None,
        p: float,
        mask: Tensor | None,
    ) -> Tensor:
        given, (q, k, v) = (q, k, v), widened(q, k, v)
        dropped, kept = torch.native_dropout(softmax_of(q, k, excluded, mask), p, True)
        ctx.p = p
        ctx.save_for_backward(*given, excluded, kept, mask)
        return torch.bmm(dropped, v).to(given[0].dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, excluded, kept, mask = ctx.saved_tensors
        dtype = q.dtype
        q, k, v, grad = widened(q, k, v, grad)
        weights = softmax_of(q, k, excluded, mask)
        factor = kept.to(grad.dtype).div_(1 - ctx.p)
        grad_v = torch.bmm((weights * factor).transpose(1, 2), grad)
        grad_weights = torch.bmm(grad, v.transpose(1, 2)).mul_(factor)
        grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        scale = q.shape[-1] ** -0.5
        grad_q = torch.bmm(grad_scores, k).mul_(scale)
        grad_k = torch.bmm(grad_scores.transpose(1, 2), q).mul_(scale)
        return grad_q.to(dtype), grad_k.to(dtype), grad_v.to(dtype), None, None, None


def widened(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.float() if is_slow(t) else t for t in tensors)


def softmax_of(q: Tensor, k: Tensor, excluded: Tensor | None, mask: Tensor | None = None) -> Tensor:
    heads, length, width = q.shape
    scores = torch.bmm(q, k.transpose(1, 2)).mul_(width**-0.5)
    if mask is not None:
        scores += mask.to(scores.dtype)
    if excluded is not None:
        batch = excluded.shape[0]
        scores.view(batch, heads // batch, length, -1).masked_fill_(
            excluded[:, None, None, :], float("-inf")
        )
    return torch.softmax(scores, -1)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    excluded: Tensor | None,
    dropout: float,
    mask: Tensor | None = None,
) -> Tensor:
    """softmax(QKᵀ/√d)V for each head, by ``F.scaled_dot_product_attention`` wherever that is fused.

    Args:
        q: (target, batch, heads · head_dim).
        k, v: (source, batch, heads · head_dim).
        heads: number of heads.
        excluded: bool (batch, source), True at keys that nothing attends to; or None.
        dropout: probability that a weight is dropped.
        mask: (target, source), added to the scores, −∞ where nothing may be seen; or None.

    Returns:
        (target, batch, heads · head_dim).
    """
    length, batch, width = q.shape

    def split(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], batch * heads, width // heads).transpose(0, 1)

    q, k, v = split(q), split(k), split(v)
    if dropout > 0 and q.device.type == "cpu":
        out = _DropoutAttention.apply(q, k, v, excluded, dropout, mask)
    else:
        q, k, v = (t.unflatten(0, (batch, heads)) for t in (q, k, v))
        allowed = None if excluded is None else ~excluded[:, None, None, :]
        if mask is not None:
            added = mask.to(q.dtype)
            allowed = added if allowed is None else added.masked_fill(~allowed, float("-inf"))
        out = F.scaled_dot_product_attention(q, k, v, allowed, dropout).flatten(0, 1)
    return out.transpose(0, 1).reshape(length, batch, width)
