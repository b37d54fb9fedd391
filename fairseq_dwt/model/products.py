"""Matrix products in half precision on processors without instructions for them.

There torch multiplies bf16 and fp16 15 to 45 times slower than fp32. Inside
:func:`products_in_fp32` every product, forward and backward, is of fp32 casts of its factors and is
rounded once, as a GPU rounds its fp32 sums; everything else stays as it is.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
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
