"""The proximal step: a soft threshold around θ0, as wide as the optimizer's own step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fairseq_dwt.find.proximal import proximal_step


def step(optimizer, init, theta, grad, l1_lambda, times=1):
    parameter = nn.Parameter(theta.clone())
    made = optimizer([parameter])
    for _ in range(times):
        parameter.grad = grad.clone()
        made.step()
        proximal_step(made, [(parameter, init)], l1_lambda)
    return parameter.detach()


def test_of_sgd_it_is_the_soft_threshold():
    init = torch.tensor([1.0, 1.0, 1.0, -1.0])
    grad = torch.tensor([0.5, -0.5, 0.05, 2.0])
    found = step(lambda p: torch.optim.SGD(p, lr=0.1), init, init, grad, 0.1)
    # Δ = −0.1 g, pulled back by 0.1 · 0.1
    torch.testing.assert_close(found, init + torch.tensor([-0.04, 0.04, 0.0, -0.19]))
    assert found[2] == init[2]  # exactly


@pytest.mark.parametrize("lr", [1e-5, 1e-3, 1.0])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_of_adam_a_weight_rests_where_its_gradient_is_at_most_lambda_at_any_rate(optimizer, lr):
    init = torch.zeros(3)
    grad = torch.tensor([0.02, -0.009, 0.0])
    made = lambda p: optimizer(p, lr=lr, weight_decay=0.0)  # noqa: E731
    found = step(made, init, init, grad, 0.01, times=20)
    assert found[0] < 0 and found[1] == found[2] == 0
    # half of each step is taken back
    torch.testing.assert_close(found[0], torch.tensor(-20 * lr / 2), rtol=1e-4, atol=0.0)


def test_what_has_no_gradient_is_left_alone():
    moved, init = nn.Parameter(torch.ones(2)), torch.zeros(2)
    optimizer = torch.optim.SGD([moved], lr=1.0)
    proximal_step(optimizer, [(moved, init)], 0.5)
    assert torch.equal(moved.detach(), torch.ones(2))
