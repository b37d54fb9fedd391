"""The attention of any fairseq model through its projection modules, for every use made of it.

fairseq hands the weights of q_proj, k_proj, v_proj and out_proj to one torch function, around the
modules; its switch ``skip_embed_dim_check`` (made for pruned heads) has it call them. Where nothing
but the result is asked for, as in training, causal and cross attention alike, the lean attention of
:mod:`.attention` takes the place of fairseq's arithmetic; incremental decoding, weights and extra
keys go fairseq's own way. Dropout and ReLU keep a byte a number.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from fairseq.modules import FairseqDropout, MultiheadAttention, gelu
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..errors import DwtError
from .anatomy import refuse_quant_noise, require_input_grad
from .attention import attend
from .products import Linear


class Dropout(FairseqDropout):  # type: ignore[misc]
    """The same numbers are dropped; a byte each is kept of them, where torch keeps a float."""

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        if self.p > 0 and (self.training or self.apply_during_inference):
            return torch.native_dropout(x, self.p, True)[0]
        return x


class _Relu(torch.autograd.Function):
    """max(x, 0); keeps a byte a number, of which torch keeps the result."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x <= 0)
        return F.relu(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (zero,) = ctx.saved_tensors
        return grad.masked_fill(zero, 0)


def relu(x: Tensor) -> Tensor:
    """max(x, 0), any shape."""
    out: Tensor = _Relu.apply(x)
    return out


class ModulesAttention(MultiheadAttention):  # type: ignore[misc]
    """fairseq's attention through its projection modules."""

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        key_padding_mask: Tensor | None = None,
        incremental_state: Any = None,
        need_weights: bool = True,
        static_kv: bool = False,
        attn_mask: Tensor | None = None,
        **other: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """As fairseq's: (target, batch, embed_dim) from (source, batch, kdim) and (…, vdim)."""
        lean = (
            key is not None
            and incremental_state is None
            and not (need_weights or any(other.values()))
            and (attn_mask is None or attn_mask.dim() == 2)
            and self.bias_k is None
            and not self.add_zero_attn
            and query.shape[1] == key.shape[1]
        )
        if not lean:
            out: tuple[Tensor, Tensor | None] = super().forward(
                query,
                key,
                value,
                key_padding_mask,
                incremental_state,
                need_weights,
                static_kv,
                attn_mask,
                **other,
            )
            return out
        # as fairseq: self-attention and cross-attention look at one thing
        keys = query if self.self_attention else key
        values = value if not (self.self_attention or self.encoder_decoder_attention) else keys
        dropout = self.dropout_module
        active = self.training or dropout.apply_during_inference
        attended = attend(
            self.q_proj(query.contiguous()),
            self.k_proj(keys),
            self.v_proj(values),
            self.num_heads,
            None if key_padding_mask is None else key_padding_mask.bool(),
            dropout.p if active else 0.0,
            attn_mask,
        )
        return self.out_proj(attended), None


def use_modules(model: nn.Module) -> None:
    """Have every attention of ``model`` call its projection modules; edited in place.

    Args:
        model: any of fairseq's, before any wrapper.

    Raises:
        DwtError: an attention of xformers, or quantization noise.
    """
    refuse_quant_noise(model)
    for name, module in model.named_modules():
        if isinstance(module, MultiheadAttention):
            if getattr(module, "use_xformers", False):
                raise DwtError(
                    f"{name}: expected fairseq's own attention, got one of xformers, which goes "
                    "around the layers that a ticket is in; leave xformers_att_config out"
                )
            module.skip_embed_dim_check = True
            if type(module) is MultiheadAttention:
                module.__class__ = ModulesAttention
        elif type(module) is FairseqDropout:
            module.__class__ = Dropout
        elif type(module) is nn.Linear and not module._forward_pre_hooks:
            module.__class__ = Linear
        lean = {gelu: F.gelu, F.relu: relu}.get(getattr(module, "activation_fn", None))
        if lean is not None:
            module.activation_fn = lean  # type: ignore[assignment]
        if hasattr(module, "ever_training"):
            module.ever_training = True  # fairseq 0.12.2's fast inference goes around the modules
        if hasattr(module, "precheckpoint_forward"):
            # gradient checkpointing trains nothing in a layer whose input needs no gradient
            module.register_forward_pre_hook(require_input_grad)
