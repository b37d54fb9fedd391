"""The encoder on the real tokens of a batch, laid end to end: padding is not computed.

From the embeddings to the last layer x is (tokens, embed_dim), row after row of the batch; only
attention sees rows, in groups of similar length, padded for the softmax alone. Where a
classification head reads nothing but ``<s>``, the last layer computes keys and values of all
tokens, and all else of ``<s>``. Parameters, their names and the state dict stay as they are;
without dropout the results are those of the padded batch within rounding, and with it as many
numbers are dropped.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.models.roberta.model import RobertaClassificationHead
from fairseq.models.transformer import TransformerEncoder
from fairseq.modules import LearnedPositionalEmbedding, MultiheadAttention
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from fairseq.utils import make_positions
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..errors import DwtError
from .anatomy import heads_in
from .attention import softmax_of, widened
from .encoder import use_sdpa

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


class _PackedAttention(torch.autograd.Function):
    """softmax(QKᵀ/√d)V of packed rows; the backward pass computes the softmax again.

    q: (tokens, embed_dim), or (batch, embed_dim) where only first tokens ask; k, v: (tokens,
    embed_dim). Keeps them, and one byte a weight where weights are dropped.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, packing: Packing, p: float
    ) -> Tensor:
        ctx.heads, ctx.packing, ctx.p = heads, packing, p
        ctx.first = len(q) != len(k)
        out, kept = torch.empty_like(q), []
        for group in packing.groups:
            parts = _of_group(group, ctx.first, heads, q, k, v)
            weights = softmax_of(*parts[:2], group.excluded)
            if p > 0:
                weights, mask = torch.native_dropout(weights, p, True)
                kept.append(mask)
            _to_rows(out, torch.bmm(weights, parts[2]), group, ctx.first, heads)
        ctx.save_for_backward(q, k, v, *kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        heads, packing, first = ctx.heads, ctx.packing, ctx.first
        grads = [torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)]
        for number, group in enumerate(packing.groups):
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
            if kept:
                factor = kept[number].to(weights.dtype).div_(1 - ctx.p)
                dropped, grad_weights = weights * factor, grad_weights.mul_(factor)
            grad_v = torch.bmm(dropped.transpose(1, 2), grad_)
            scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            scale = q_.shape[-1] ** -0.5
            grad_q = torch.bmm(scores, k_).mul_(scale)
            grad_k = torch.bmm(scores.transpose(1, 2), q_).mul_(scale)
            _to_rows(grads[0], grad_q, group, first, heads)
            _to_rows(grads[1], grad_k, group, False, heads)
            _to_rows(grads[2], grad_v, group, False, heads)
        return (*grads, None, None, None)


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


class PackedAttention(MultiheadAttention):  # type: ignore[misc]
    """fairseq's self-attention of packed tokens, computed through its projection modules."""

    def forward(  # type: ignore[override]
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Any = None, **_: Any
    ) -> tuple[Tensor, None]:
        """Attend from ``query`` to ``key``.

        Args:
            query: (tokens, embed_dim), or (batch, embed_dim) of first tokens.
            key: (tokens, embed_dim); ``value`` is the same.
            key_padding_mask: the batch's :class:`Packing`.

        Returns:
            as ``query``, and None for the weights.
        """
        dropout = self.dropout_module
        active = self.training or dropout.apply_during_inference
        q, k, v = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        p = dropout.p if active else 0.0
        attended = _PackedAttention.apply(q, k, v, self.num_heads, key_padding_mask, p)
        return self.out_proj(attended), None


class PackedLayer(TransformerEncoderLayerBase):  # type: ignore[misc]
    """fairseq's encoder layer on packed tokens; of first tokens alone where no others are read."""

    def forward(self, x: Tensor, encoder_padding_mask: Any, attn_mask: Any = None) -> Tensor:
        """(tokens, embed_dim) → the same, or (batch, embed_dim)."""
        packing, residual = encoder_padding_mask, x
        if self.normalize_before:
            x = self.self_attn_layer_norm(x)
        query = x
        if packing.read_first:
            query, residual = x[packing.firsts], residual[packing.firsts]
        x, _ = self.self_attn(query, x, x, key_padding_mask=packing)
        x = self.residual_connection(self.dropout_module(x), residual)
        if not self.normalize_before:
            x = self.self_attn_layer_norm(x)
        residual = x
        if self.normalize_before:
            x = self.final_layer_norm(x)
        x = self.fc2(self.activation_dropout_module(self.activation_fn(self.fc1(x))))
        x = self.residual_connection(self.dropout_module(x), residual)
        return x if self.normalize_before else self.final_layer_norm(x)


class PackedEncoder(TransformerEncoder):  # type: ignore[misc]
    """fairseq's encoder; pads what it returns, unless only first tokens are read.

    Attributes:
        reads_first: whether the model's next step reads first tokens alone.
    """

    reads_first = False

    def forward_scriptable(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        return_all_hiddens: bool = False,
        token_embeddings: Tensor | None = None,
    ) -> dict[str, Any]:
        """int64 (batch, length) → ``encoder_out``: [(length, batch, embed_dim)], zero at padding.

        (1, batch, embed_dim) where first tokens alone are read.

        Raises:
            DwtError: embeddings are given; packed execution makes its own.
        """
        if token_embeddings is not None:
            raise DwtError(
                "attention: packed execution makes its own embeddings, got some; set "
                "task.attention=sdpa"
            )
        real = src_tokens.ne(self.padding_idx)
        packing = Packing(real)
        x = self._embed(src_tokens, packing)
        states = [packing.unpack(x)] if return_all_hiddens else []
        layers = list(self.layers)
        first = self.reads_first and not return_all_hiddens and bool(real[:, 0].all())
        for number, layer in enumerate(layers, start=1):
            last = first and number == len(layers)
            x = layer(x, encoder_padding_mask=packing.of_first() if last else packing)
            if return_all_hiddens:
                states.append(packing.unpack(x))
        if first and len(x) != len(real):  # layers that are fairseq's own give all tokens
            x = x[packing.firsts]
        if self.layer_norm is not None:
            x = self.layer_norm(x)
        return {
            "encoder_out": [x[None] if first else packing.unpack(x)],
            "encoder_padding_mask": [~real],
            "encoder_embedding": [],
            "encoder_states": states,
            "fc_results": [],
            "src_tokens": [],
            "src_lengths": [packing.lengths.to(torch.int32).view(-1, 1)],
        }

    def _embed(self, tokens: Tensor, packing: Packing) -> Tensor:
        x = self.embed_scale * self.embed_tokens(packing.pack(tokens))
        positions = self.embed_positions
        if isinstance(positions, LearnedPositionalEmbedding):
            places = make_positions(tokens, self.padding_idx)
            x = x + F.embedding(packing.pack(places), positions.weight, positions.padding_idx)
        elif positions is not None:
            x = x + packing.pack(positions(tokens))
        if self.layernorm_embedding is not None:
            x = self.layernorm_embedding(x)
        return self.dropout_module(x)


def use_packed(model: nn.Module) -> None:
    """Have the encoder of ``model`` compute real tokens alone; edited in place.

    Args:
        model: a fairseq RoBERTa.

    Raises:
        DwtError: an encoder or attention that is not plain, or quantization noise.
    """
    use_sdpa(model)
    encoder: Any = model.encoder.sentence_encoder  # type: ignore[union-attr]
    plain = type(encoder) in (TransformerEncoder, PackedEncoder) and encoder.quant_noise is None
    if not plain or encoder.return_fc or any(layer.return_fc for layer in encoder.layers):
        raise DwtError(
            "task.attention: packed execution serves fairseq's plain encoder, got "
            f"{type(encoder).__name__} with quantization noise or results of FC2; set "
            "task.attention=sdpa"
        )
    encoder.__class__ = PackedEncoder
    for layer in encoder.layers:
        layer.__class__ = PackedLayer
        layer.self_attn.__class__ = PackedAttention
    model.register_forward_pre_hook(_note_what_is_read, with_kwargs=True)


def _note_what_is_read(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    name = kwargs.get("classification_head_name", args[3] if len(args) > 3 else None)
    head = heads_in(model)[name] if name is not None and name in heads_in(model) else None
    # another head may read more
    model.encoder.sentence_encoder.reads_first = type(head) is RobertaClassificationHead
