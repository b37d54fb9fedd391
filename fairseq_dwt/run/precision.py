"""Which precision a run trains in: settled here, before fairseq's trainer is built."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig, open_dict

from ..errors import DwtError
from ..patches.gpu import hide_gpu


def trains_on_gpu(root: DictConfig) -> bool:
    """Whether fairseq's trainer will run this config on a GPU."""
    return torch.cuda.is_available() and not root.common.cpu


def settle_precision(root: DictConfig) -> None:
    """See that one precision is asked for, which this machine has, before the trainer is built.

    ``${dwt:fp16}`` of our configs is fp16 on a GPU unless ``common`` names something else. In
    masked mode fp16 keeps its parameters separate: flattened, a matrix no longer tells which of its
    entries are trained. So it does for a moving slice, whose columns' states begin anew.

    Args:
        root: fairseq's whole config; edited in place.

    Raises:
        DwtError: two precisions, fp16 without a GPU, or amp.
    """
    common = root.common
    hide_gpu(common.cpu)
    if common.cpu and common.tpu:
        with open_dict(common):
            common.tpu = False  # fairseq-train takes bf16 without a GPU for a TPU's
    if common.amp:
        raise DwtError(
            "common.amp: fairseq's AMP optimizer divides gradients by the loss scale twice (it "
            "unscales one object and steps another); train with common.fp16=true or "
            "common.bf16=true"
        )
    if common.fp16 and common.bf16:
        raise DwtError(
            "common.fp16, common.bf16: expected one precision, got both; leave one of them out"
        )
    if common.fp16 and not trains_on_gpu(root):
        where = "common.cpu=true" if common.cpu else "a machine without one"
        raise DwtError(
            f"common.fp16: fairseq trains in fp16 on a GPU only, got {where}; leave common.fp16 "
            "out to train in fp32"
        )
    # fairseq's older optimizers are a Namespace of all flags
    ticket: Any = root["optimizer"] if "optimizer" in root else None
    inside = getattr(ticket, "_name", None) == "dominant_ticket"
    if inside and (str(ticket.mode) == "masked" or ticket.move_every is not None):
        with open_dict(common):
            common.fp16_no_flatten_grads = True


def refuse_sharding(root: DictConfig) -> None:
    """Refuse settings under which a weight, its fp32 copy or its state cannot be told from others.

    Raises:
        DwtError: ``fully_sharded``, product quantization, memory-efficient half precision, BMUF or
            ZeRO.
    """
    if root.distributed_training.ddp_backend == "fully_sharded":
        raise DwtError(
            "distributed_training.ddp_backend: fully_sharded flattens all weights into one, of "
            "which neither θ − θ0 nor a ticket can be told; use legacy_ddp, c10d or pytorch_ddp"
        )
    if root.common.quantization_config_path:
        raise DwtError(
            "common.quantization_config_path: iterative product quantization replaces the matrices "
            "as it trains; leave it out, and quantize what comes of the run"
        )
    for name in ("memory_efficient_fp16", "memory_efficient_bf16"):
        if root.common[name]:
            raise DwtError(
                f"common.{name}: it avoids fp32 copies of the weights, from which θ − θ0 is "
                "counted and a run resumes exactly; leave it off"
            )
    if root.optimization.use_bmuf:
        raise DwtError(
            "optimization.use_bmuf: it averages parameters behind the optimizer's back, of which "
            "neither W nor its fp32 copies learn; leave it off"
        )
    if root.distributed_training.zero_sharding != "none":
        raise DwtError(
            "distributed_training.zero_sharding: a ticket's optimizer states are too small to "
            "shard and are saved whole, and stage 1 looks into the optimizer; set it to none"
        )
