"""Stage 1's other step: the proximal operator of λ‖θ − θ0‖₁, after the optimizer's own step.

Adam moves a weight by about the learning rate, however small its gradient. Under the subgradient
λ sign(θ − θ0) a weight at rest jumps to and fro by that much, further than σ where the rate is
large or never ends. The proximal step leaves it at θ0 exactly:

    θ ← θ0 + sign(Δ) · max(|Δ| − λ s, 0),    Δ = θ − θ0

with s, the optimizer's step a unit of gradient: lr for SGD, lr / (√v + ε) of each weight for Adam
(Yun et al. 2021, ProxGen). A weight rests where its mean gradient is at most λ, at any rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def proximal_step(
    optimizer: torch.optim.Optimizer, pairs: Iterable[tuple[Tensor, Tensor]], l1_lambda: float
) -> None:
    """Pull parameters toward θ0; to be called after each ``optimizer.step()``.

    Args:
        optimizer: that stepped them.
        pairs: each parameter that is covered, the tensor in the optimizer's groups, and its θ0.
        l1_lambda: λ ≥ 0.
    """
    groups = {p: group for group in optimizer.param_groups for p in group["params"]}
    with torch.no_grad():
        for parameter, init in pairs:
            if parameter.grad is None:
                continue  # nothing stepped it
            threshold = step_size(groups[parameter], optimizer.state.get(parameter, {})) * l1_lambda
            init = init.to(parameter)
            delta = parameter - init
            pulled = delta.abs().sub_(threshold).clamp_min_(0).mul_(delta.sign_())
            # exactly θ0 where nothing is left
            parameter.copy_(torch.where(pulled == 0, init, init + pulled))


def step_size(group: dict[str, Any], state: dict[str, Any]) -> Tensor | float:
    """s: by how much a step moves a weight for each unit of its mean gradient."""
    lr, squares = float(group["lr"]), state.get("exp_avg_sq")
    if squares is None or "betas" not in group:
        return lr
    # apex's optimizers count steps in the group, and may keep squares in fp16, scaled
    squares = squares.float() * float(state.get("exp_avg_sq_scale", 1.0))
    correction = 1 - group["betas"][1] ** float(state["step"] if "step" in state else group["step"])
    return lr / (squares / correction).sqrt_().add_(group["eps"])
