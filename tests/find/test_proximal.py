"""The proximal step: a soft threshold around θ0, as wide as the optimizer's own step."""

from __future__ import annotations

import pytest
import torch
from fairseq.optim.adam import Adam
from fairseq.optim.adamax import Adamax
from fairseq.optim.nag import NAG
from torch import nn

from fairseq_dwt import DwtError
from fairseq_dwt.find.proximal import check_known, proximal_step


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


STEPPED = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD, momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "SGD, damped": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    "SGD, Nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "NAG": lambda p: NAG(p, lr=0.1, momentum=0.99),
    "Adam": lambda p: Adam(p, lr=0.1),
    "Adam, amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, lr_decay=0.01),
    "Adamax": lambda p: Adamax(p, lr=0.1),
}


@pytest.mark.parametrize("name", STEPPED)
def test_under_any_optimizer_lambda_decides_what_rests(name):
    init = torch.zeros(4)
    grad = 0.01 * torch.tensor([0.5, -0.95, 1.2, -2.0])
    found = step(STEPPED[name], init, init, grad, 0.01, times=200)
    assert found[0] == found[1] == 0
    assert found[2] < 0 < found[3]


def test_clipping_pulls_as_much_less_as_it_pushes():
    init, grads = torch.zeros(2), torch.tensor([0.05, 1.0])
    found = []
    for clipped in (1.0, 0.1):
        parameter = nn.Parameter(init.clone())
        made = torch.optim.Adam([parameter], lr=0.01)
        for _ in range(20):
            parameter.grad = clipped * grads
            made.step()
            proximal_step(made, [(parameter, init)], 0.01, clipped)
        found.append(parameter.detach())
    torch.testing.assert_close(*found)
    assert found[0].abs().min() > 0


def test_an_optimizer_whose_step_is_not_known_is_refused():
    optimizer = torch.optim.RMSprop([nn.Parameter(torch.ones(2))], lr=1.0, momentum=0.9)
    with pytest.raises(DwtError, match="expected subgradient with RMSprop"):
        check_known(optimizer)
    own = type("Own", (torch.optim.AdamW,), {})
    check_known(own([nn.Parameter(torch.ones(2))], lr=1.0))


def test_what_has_no_gradient_is_left_alone():
    moved, init = nn.Parameter(torch.ones(2)), torch.zeros(2)
    optimizer = torch.optim.SGD([moved], lr=1.0)
    proximal_step(optimizer, [(moved, init)], 0.5)
    assert torch.equal(moved.detach(), torch.ones(2))
