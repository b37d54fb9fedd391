"""The encoder on the real tokens of a batch, laid end to end: padding is not computed.

From the embeddings to the last layer x is (tokens, embed_dim), row after row of the batch; only
attention sees rows, in groups of similar length, padded for the softmax alone. Where a
classification head reads nothing but ``<s>``, the last layer computes keys and values of all
tokens, and all else of ``<s>``. Parameters, their names and the state dict stay as they are;
without dropout the results are those of the padded batch within rounding, and with it as many
numbers are dropped.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from fairseq.models.roberta.model import RobertaClassificationHead
from fairseq.models.transformer import TransformerEncoder
from fairseq.modules import FairseqDropout, LearnedPositionalEmbedding, MultiheadAttention
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from fairseq.utils import make_positions
from torch import Tensor, nn

from ..errors import DwtError
from .again import again, normalise
from .anatomy import heads_in
from .dropout import dropout
from .encoder import use_sdpa
from .packing import PackedSoftmax, Packing


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
        # the few queries of first tokens are kept; values again would cost 3 % of a step more
        asked = [self.q_proj] if query is key else []
        source = again(key, [*asked, self.k_proj]) or ()
        attended = PackedSoftmax.apply(q, k, v, self.num_heads, key_padding_mask, p, *source)
        return self.out_proj(attended), None


class BulkDropout(FairseqDropout):  # type: ignore[misc]
    """fairseq's dropout, drawn in bulk."""

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        """Any shape."""
        active = self.training or self.apply_during_inference
        return dropout(x, self.p) if active else x


class PackedLayer(TransformerEncoderLayerBase):  # type: ignore[misc]
    """fairseq's encoder layer on packed tokens; of first tokens alone where no others are read."""

    def forward(self, x: Tensor, encoder_padding_mask: Any, attn_mask: Any = None) -> Tensor:
        """(tokens, embed_dim) → the same, or (batch, embed_dim)."""
        packing, residual = encoder_padding_mask, x
        if self.normalize_before:
            x = normalise(self.self_attn_layer_norm, x)
        query = x
        if packing.read_first:
            query, residual = x[packing.firsts], residual[packing.firsts]
        x, _ = self.self_attn(query, x, x, key_padding_mask=packing)
        x = self.residual_connection(self.dropout_module(x), residual)
        if not self.normalize_before:
            x = normalise(self.self_attn_layer_norm, x)
        residual = x
        if self.normalize_before:
            x = normalise(self.final_layer_norm, x)
        x = self.fc2(self.activation_dropout_module(self.activation_fn(self.fc1(x))))
        x = self.residual_connection(self.dropout_module(x), residual)
        return x if self.normalize_before else normalise(self.final_layer_norm, x)


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
        # of this call alone: who calls the encoder itself reads all of it
        reads_first, self.reads_first = self.reads_first, False
        real = src_tokens.ne(self.padding_idx)
        packing = Packing(real)
        x = self._embed(src_tokens, packing)
        states = [packing.unpack(x)] if return_all_hiddens else []
        layers = list(self.layers)
        first = reads_first and not return_all_hiddens and bool(real[:, 0].all())
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
    # iterated, layers that are dropped at random would be missing
    layers = list(encoder.layers._modules.values())
    plain = type(encoder) in (TransformerEncoder, PackedEncoder) and encoder.quant_noise is None
    if not plain or encoder.return_fc or any(layer.return_fc for layer in layers):
        raise DwtError(
            "task.attention: packed execution serves fairseq's plain encoder, got "
            f"{type(encoder).__name__} with quantization noise or results of FC2; set "
            "task.attention=sdpa"
        )
    encoder.__class__ = PackedEncoder
    encoder.dropout_module.__class__ = BulkDropout
    for layer in layers:
        layer.__class__ = PackedLayer
        layer.self_attn.__class__ = PackedAttention
        for module in (layer.dropout_module, layer.activation_dropout_module):
            module.__class__ = BulkDropout
    model.register_forward_pre_hook(_note_what_is_read, with_kwargs=True)


def _note_what_is_read(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    name = kwargs.get("classification_head_name", args[3] if len(args) > 3 else None)
    head = heads_in(model)[name] if name is not None and name in heads_in(model) else None
    # another head may read more
    model.encoder.sentence_encoder.reads_first = type(head) is RobertaClassificationHead
