"""Matrix products on processors where torch's own choice is slow.

In fp32 torch multiplies by MKL, which on AMD's processors stops at AVX2; where they have AVX-512
oneDNN is twice as fast, and :func:`linear` and :func:`times` call it. They round otherwise, no
worse.

In half precision without instructions for it torch multiplies 15 to 45 times slower than in fp32.
Inside :func:`products_in_fp32` every product, forward and backward, is of fp32 casts of its factors
and is rounded once, as a GPU rounds its fp32 sums; everything else stays as it is.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from ..train.halves import HALVES

#: torch's operations that multiply matrices, under autograd: what it runs forward and backward.
_NAMES = (
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "mv",
    "addmv",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention_for_cpu_backward",
    "_transformer_encoder_layer_fwd",
)
_PRODUCTS = frozenset(
    getattr(torch.ops.aten, name).default for name in _NAMES if hasattr(torch.ops.aten, name)
)


@cache
def mkl_is_slow() -> bool:
    """Whether this is an AMD processor with AVX-512, and torch multiplies by MKL."""
    try:
        amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return amd and wide and known and torch.backends.mkl.is_available()


def _by_onednn(x: Tensor) -> bool:
    cpu = x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0
    return bool(cpu and torch.backends.mkldnn.enabled and mkl_is_slow())  # type: ignore[attr-defined]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, (…, out_features), outside autograd."""
    if _by_onednn(x):
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out
    return F.linear(x, weight, bias)


def times(x: Tensor, y: Tensor) -> Tensor:
    """xy of two matrices, outside autograd."""
    return linear(x, y.t()) if _by_onednn(x) else x @ y


class _Linear(torch.autograd.Function):
    """x Wᵀ + b of x (rows, in_features)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        needs_x, needs_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_weight else None, weight if needs_x else None)
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_x = None if weight is None else times(grad, weight)
        grad_weight = None if x is None else times(grad.t(), x)
        return grad_x, grad_weight, grad.sum(0) if ctx.needs_input_grad[2] else None


class Linear(nn.Linear):
    """torch's linear layer, its products by oneDNN where that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) → (…, out_features)."""
        if not _by_onednn(x):
            return super().forward(x)
        if not torch.is_grad_enabled():
            return linear(x, self.weight, self.bias)
        out: Tensor = _Linear.apply(x.reshape(-1, x.shape[-1]), self.weight, self.bias)
        # a view made here, not inside: fairseq's attention scales queries in place
        return out.view(*x.shape[:-1], self.out_features)


def is_plain_linear(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether ``module`` computes x Wᵀ + b of its ``weight`` and ``bias`` and nothing else."""
    hooked = bool(module._forward_pre_hooks or module._forward_hooks)
    return type(module) in (nn.Linear, Linear) and not hooked


@cache
def has_instructions(dtype: torch.dtype) -> bool:
    """Whether this processor multiplies matrices of ``dtype`` with instructions of its own."""
    name = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype)
    supported = getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", None)
    return name is None or supported is None or bool(supported())


def is_slow(tensor: Tensor) -> bool:
    """Whether products of ``tensor`` are better taken in fp32."""
    return (
        tensor.dtype in HALVES
        and tensor.device.type == "cpu"
        and not has_instructions(tensor.dtype)
    )


def products_in_fp32(model: nn.Module) -> AbstractContextManager[Any]:
    """Inside it, ``model`` multiplies in fp32 where that is faster; elsewhere nothing changes.

    Args:
        model: its parameters' dtype and device decide.
    """
    parameter = next(model.parameters(), None)
    if parameter is not None and is_slow(parameter):
        return _ProductsInFp32()
    return contextlib.nullcontext()


def _float(value: Tensor) -> Tensor:
    """An fp32 cast; of what is expanded, as a weight over a batch, one copy."""
    whole = value
    for axis, (size, stride) in enumerate(zip(value.shape, value.stride())):
        if stride == 0 and size > 1:
            value = value.narrow(axis, 0, 1)
    return value.float().expand(whole.shape)


class _ProductsInFp32(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _PRODUCTS:
            return func(*args, **(kwargs or {}))
        half: torch.dtype | None = None

        def widen(value: Any) -> Any:
            nonlocal half
            if torch.is_tensor(value) and value.dtype in HALVES:
                half = value.dtype
                return _float(value)
            return value

        result = func(*tree_map(widen, args), **tree_map(widen, kwargs or {}))
        if half is None:
            return result
        if torch.is_tensor(result):
            return result.to(half)
        # of attention: its output or gradients; the softmax's normalisers, (batch, heads, length),
        # stay in fp32 as they are in half precision
        return tuple(
            r.to(half) if torch.is_tensor(r) and r.is_floating_point() and r.dim() == 4 else r
            for r in result
        )
