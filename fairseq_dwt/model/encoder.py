"""fairseq's encoder layers made lean: attention through its projection modules and SDPA.

fairseq's attention hands the *weights* of q_proj, k_proj, v_proj and out_proj to one torch function
and so goes around the modules. :func:`use_sdpa` has it call them, and attend with
``F.scaled_dot_product_attention``. GELU is computed in the activations' own dtype, where fairseq
keeps an fp32 copy of them, and dropout keeps a byte per number. Results are equal within rounding;
parameters, their names and the state dict stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from fairseq.modules import MultiheadAttention, gelu
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from torch import Tensor, nn

from ..errors import DwtError
from .anatomy import require_input_grad
from .products import Linear
from .through_modules import Dropout, ModulesAttention


class SdpaAttention(ModulesAttention):
    """fairseq's self-attention through its projection modules, and nothing but it."""

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        **other: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from ``query`` to itself.

        Args:
            query: (length, batch, embed_dim); key and value must be the same tensor.
            key_padding_mask: (batch, length), nonzero at padding.

        Returns:
            (length, batch, embed_dim), and None for the weights.

        Raises:
            DwtError: called otherwise than a RoBERTa encoder calls it.
        """
        plain = key is query and value is query and attn_mask is None
        if not plain or need_weights or any(other.values()):
            raise DwtError(
                "attention: expected self-attention without weights or a mask of its own, as a "
                "RoBERTa encoder calls it; for others set task.attention=fairseq"
            )
        # the first layer's input is a transposed view, with which torch multiplies row by row
        query = query.contiguous()
        return super().forward(query, query, query, key_padding_mask, need_weights=False)


def use_sdpa(model: nn.Module) -> None:
    """Make the encoder layers of ``model`` lean; edited in place.

    Args:
        model: a fairseq RoBERTa.

    Raises:
        DwtError: an attention that is more than softmax(QKᵀ/√d)V (extra keys, xformers).
    """
    for name, module in model.named_modules():
        if isinstance(module, MultiheadAttention):
            plain = module.self_attention and module.bias_k is None and not module.add_zero_attn
            if not plain or getattr(module, "use_xformers", False):
                raise DwtError(
                    f"{name}: expected a plain self-attention, got one with extra keys or of "
                    "xformers; set task.attention=fairseq"
                )
            # The class, not the object: parameters, hooks and how old checkpoints load all stay.
            module.__class__ = SdpaAttention
        elif isinstance(module, TransformerEncoderLayerBase):
            module.dropout_module.__class__ = Dropout
            module.activation_dropout_module.__class__ = Dropout
            if module.activation_fn is gelu:
                module.activation_fn = F.gelu
        elif type(module) is nn.Linear:
            module.__class__ = Linear


def train_below_frozen_embeddings(model: nn.Module) -> None:
    """Let ``checkpoint_activations`` train layers whose input needs no gradient.

    fairseq's gradient checkpointing gives a layer's parameters no gradient, silently, where the
    layer's input requires none, as above frozen embeddings. Each layer's input is made to: where
    layerdrop skips the first, another is the first.

    Args:
        model: a fairseq RoBERTa built with ``checkpoint_activations``; edited in place.
    """
    for layer in model.encoder.sentence_encoder.layers.children():  # type: ignore
        layer.register_forward_pre_hook(require_input_grad)
