"""What a step keeps."""

from __future__ import annotations

from typing import Any

import torch


def kept_for_backward(model: Any, compute: Any) -> int:
    """Bytes that ``compute()`` keeps for the backward pass, each storage once, parameters aside."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = (tensor, storage.nbytes())  # alive: no address twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        compute()
    return sum(size for _, size in storages.values())
