"""The fp32 copies of half-precision weights: what the optimizer steps, and so what θ is.

In fp16 and bf16 fairseq's optimizer steps an fp32 copy of each parameter and rounds it into the
model after each step. A weight that moved by less than half a unit in its last place looks as if it
had not moved, and one such unit of a weight of 1/16 is already larger than σ in fp16. So the norm
‖θ − θ0‖₁, its sign and the out-weighted parameters are those of the copies, and a run resumes
exactly only from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DwtError

#: Where a checkpoint keeps :func:`state`, in its task_state.
KEY = "half_precision"
HALVES = (torch.float16, torch.bfloat16)

#: What decides when a loss scale grows, of which fairseq saves the scale alone.
_SCALER = (
    "loss_scale",
    "_iter",
    "_last_overflow_iter",
    "_last_rescale_iter",
    "_overflows_since_rescale",
)


def fp32_copies(optimizer: Any) -> dict[Tensor, Tensor]:
    """The fp32 copies that a fairseq optimizer steps.

    Args:
        optimizer: fairseq's; ``FP16Optimizer`` in fp16 and bf16, its copies flattened or separate.

    Returns:
        ``{parameter: its copy}``, a view of the parameter's shape; empty where it has none (fp32).
    """
    copies = getattr(optimizer, "fp32_params", None)
    if copies is None:
        return {}
    parameters: list[Tensor] = list(optimizer.fp16_params)
    if isinstance(copies, Mapping):
        # flattened: one tensor a device, in the parameters' order
        (flat,) = copies.values()
        copies = flat.detach().split([p.numel() for p in parameters])
    return {p: copy.detach().view(p.shape) for p, copy in zip(parameters, copies)}


def stepped(optimizer: Any) -> dict[Tensor, Tensor]:
    """What a fairseq optimizer steps in place of each half-precision parameter, copies separate.

    Returns:
        ``{parameter: the tensor in the optimizer's groups}``; empty in fp32.
    """
    copies = getattr(optimizer, "fp32_params", None)
    return {} if copies is None else dict(zip(optimizer.fp16_params, copies))


def forget(optimizer: Any, parameters: Iterable[Tensor]) -> None:
    """Begin anew with the values that some parameters have: their fp32 copies, their states.

    Args:
        optimizer: fairseq's; its copies are separate.
        parameters: of the model.
    """
    copies, states = stepped(optimizer), optimizer.optimizer.state
    with torch.no_grad():
        for parameter in parameters:
            held = copies.get(parameter, parameter)
            if held is not parameter:
                held.copy_(parameter)
            states.pop(held, None)


def state(
    optimizer: Any, named: Iterable[tuple[str, nn.Parameter]], weights: bool = True
) -> dict[str, Any]:
    """What a checkpoint must keep of half-precision training beside what fairseq saves.

    Args:
        optimizer: fairseq's.
        named: the model's parameters.
        weights: whether to keep the copies; a ticket's are in its optimizer's state.

    Returns:
        ``weights``, ``{name: fp32 copy}``, and ``loss_scaler``, its counters; empty in fp32.
    """
    copies = fp32_copies(optimizer)
    if not copies:
        return {}
    scaler = optimizer.scaler
    return {
        "weights": {n: copies[p] for n, p in named if p in copies} if weights else {},
        "loss_scaler": {} if scaler is None else {name: getattr(scaler, name) for name in _SCALER},
    }


def load_state(
    saved: Mapping[str, Any], optimizer: Any, named: Iterable[tuple[str, nn.Parameter]]
) -> None:
    """Put back what :func:`state` gave, in whichever precision the run goes on.

    Args:
        saved: of a checkpoint.
        optimizer: fairseq's, as it was built from the checkpoint's (rounded) model.
        named: the model's parameters.

    Raises:
        DwtError: a saved copy has another shape than its parameter.
    """
    copies, parameters = fp32_copies(optimizer), dict(named)
    with torch.no_grad():
        for name, weight in saved.get("weights", {}).items():
            parameter = parameters.get(name)
            if parameter is None or parameter.shape != weight.shape:
                raise DwtError(
                    f"checkpoint: {name}: expected the fp32 copy of a parameter of this model, got "
                    f"one of shape {tuple(weight.shape)}; it is of another model: choose another "
                    "hydra.run.dir"
                )
            copies.get(parameter, parameter).copy_(weight)
    scaler = getattr(optimizer, "scaler", None)
    if copies and scaler is not None:
        for name, value in saved.get("loss_scaler", {}).items():
            setattr(scaler, name, value)
