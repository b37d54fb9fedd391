"""Named configs in fp16 flattened, fp16 separate and bf16: as on a GPU, or with DWT_GPU=1 on one."""

from __future__ import annotations

import os

import pytest
import torch

from fairseq_dwt.model import products
from fairseq_dwt.run import precision
from tests.half.imitation import imitated_gpu

trains_on_gpu = precision.trains_on_gpu  # as it is without the imitation

ON_GPU = bool(os.environ.get("DWT_GPU"))
_DEVICE = ["common.cpu=false"] if ON_GPU else []

#: By what a test calls it.
PRECISIONS = {
    "fp16": [*_DEVICE, "common.fp16=true"],
    "fp16 separate": [*_DEVICE, "common.fp16=true", "common.fp16_no_flatten_grads=true"],
    "bf16": [*_DEVICE, "common.bf16=true"],
}


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """The imitation, on every processor alike; or the GPU, as exact as it can be."""
    if ON_GPU:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        yield
        torch.use_deterministic_algorithms(False)
        return
    monkeypatch.setattr(products, "has_instructions", lambda dtype: False)
    with imitated_gpu():
        yield


@pytest.fixture(params=PRECISIONS)
def half(request):
    """Settings of one half precision."""
    return PRECISIONS[request.param]


def copies(checkpoint: str) -> torch.Tensor:
    """All fp32 copies that a checkpoint keeps, in one vector; a ticket's are its optimizer's."""
    from fairseq_dwt.checkpoint import load_checkpoint
    from fairseq_dwt.train.halves import KEY

    state = load_checkpoint(checkpoint)
    weights = state["task_state"][KEY]["weights"]
    if not weights:
        return state["last_optimizer_state"]["fp32_copies"]
    return torch.cat([weights[name].reshape(-1) for name in sorted(weights)])
