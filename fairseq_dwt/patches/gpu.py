"""``torch.cuda.is_available`` where a run asks for the CPU of a machine with a GPU."""

from __future__ import annotations

import torch


def hide_gpu(hidden: bool) -> None:
    """With ``common.cpu`` let no one find a GPU, which fairseq asks for in places that forget it.

    (``clip_grad_norm_`` and the handling of an overflow move norms to a GPU that is there.)
    """
    stock = getattr(torch.cuda.is_available, "stock", torch.cuda.is_available)

    def is_available() -> bool:
        return False

    is_available.stock = stock  # type: ignore[attr-defined]
    torch.cuda.is_available = is_available if hidden else stock
