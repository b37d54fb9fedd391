"""Stage 1's other step: the proximal operator of λ‖θ − θ0‖₁, after the optimizer's own step.

Adam moves a weight by about the learning rate, however small its gradient. Under the subgradient
λ sign(θ − θ0) a weight at rest jumps to and fro by that much, further than σ where the rate is
large or never ends. The proximal step leaves it at θ0 exactly:

    θ ← θ0 + sign(Δ) · max(|Δ| − λ s, 0),    Δ = θ − θ0

with s, by how much the optimizer moves a weight for each unit of a constant gradient (Yun et al.
2021, ProxGen): lr / (√v + ε) of each weight under Adam, lr / (1 − μ) under SGD with momentum μ. A
weight rests where its mean gradient is at most λ, at any rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..errors import DwtError

#: Optimizers whose s is known.
KNOWN = ("SGD", "NAG", "Adam", "AdamW", "FusedAdam", "FusedAdamV1", "FusedAdamV2", "CPUAdam",
         "DeepSpeedCPUAdam", "Adagrad", "Adamax")  # fmt: skip


def check_known(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer whose s is not known (DwtError)."""
    # a subclass that steps as its parent does is known as it
    name = type(optimizer).step.__qualname__.partition(".")[0]
    if name not in KNOWN:
        raise DwtError(
            f"ticket.step: expected subgradient with {type(optimizer).__name__}, whose step for a "
            "unit of gradient is not known, got proximal; set ticket.step=subgradient, or another "
            "optimizer"
        )


def proximal_step(
    optimizer: torch.optim.Optimizer,
    pairs: Iterable[tuple[Tensor, Tensor]],
    l1_lambda: float,
    clipped: float = 1.0,
) -> None:
    """Pull parameters toward θ0; to be called after each ``optimizer.step()``.

    Args:
        optimizer: that stepped them, one of :data:`KNOWN`.
        pairs: each parameter that is covered, the tensor in the optimizer's groups, and its θ0.
        l1_lambda: λ ≥ 0.
        clipped: what gradient clipping multiplied the gradients by; it multiplies λ too.
    """
    groups = {p: group for group in optimizer.param_groups for p in group["params"]}
    with torch.no_grad():
        for parameter, init in pairs:
            if parameter.grad is None:
                continue  # nothing stepped it
            size = step_size(groups[parameter], optimizer.state.get(parameter, {}))
            threshold = size * (clipped * l1_lambda)
            init = init.to(parameter)
            delta = parameter - init
            pulled = delta.abs().sub_(threshold).clamp_min_(0).mul_(delta.sign_())
            # exactly θ0 where nothing is left
            parameter.copy_(torch.where(pulled == 0, init, init + pulled))


def step_size(group: dict[str, Any], state: dict[str, Any]) -> Tensor | float:
    """s: by how much a step moves a weight for each unit of its mean gradient."""
    lr, eps = float(group["lr"]), float(group.get("eps", 0.0))
    if "exp_inf" in state:
        return lr / (state["exp_inf"].float() + eps)
    if "sum" in state:
        lr /= 1 + (float(state["step"]) - 1) * float(group["lr_decay"])
        return lr / (state["sum"].float().sqrt() + eps)
    squares = state.get("max_exp_avg_sq", state.get("exp_avg_sq"))
    if squares is None:
        momentum = float(group.get("momentum", 0.0))
        damped = 1 - float(group.get("dampening", 0.0)) if momentum else 1.0
        return lr * damped / (1 - momentum)
    # apex's optimizers count steps in the group, and may keep squares in fp16, scaled
    squares = squares.float() * float(state.get("exp_avg_sq_scale", 1.0))
    correction = 1 - group["betas"][1] ** float(state["step"] if "step" in state else group["step"])
    return lr / (squares / correction).sqrt_().add_(eps)
