"""Products by oneDNN, on processors where torch's own are slow, are the same within rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fairseq_dwt.model import products
from fairseq_dwt.model.encoder import use_sdpa

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch has no oneDNN"
)


@pytest.fixture(params=["2-D", "3-D", "one row", "a view"])
def x(request):
    shape = {"3-D": (5, 3, 24), "one row": (1, 24)}.get(request.param, (15, 24))
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return x.t().contiguous().t() if request.param == "a view" else x


@pytest.fixture
def calls(monkeypatch):
    """Products by oneDNN are taken on every processor, and counted."""
    monkeypatch.setattr(products, "mkl_is_slow", lambda: True)
    found, by_onednn = [], products._by_onednn
    monkeypatch.setattr(products, "_by_onednn", lambda x: found.append(by_onednn(x)) or found[-1])
    return found


@pytest.mark.parametrize("frozen", [(), ("weight",), ("bias",), ("weight", "bias")])
def test_a_layer_and_its_gradients(x, calls, frozen):
    plain = nn.Linear(24, 40)
    for name in frozen:
        getattr(plain, name).requires_grad_(False)
    fast = copy.deepcopy(plain)
    fast.__class__ = products.Linear
    found = []
    for layer in (plain, fast):
        given = x.clone().requires_grad_()
        out = layer(given)
        out.square().sum().backward()
        found.append([out.detach(), given.grad, layer.weight.grad, layer.bias.grad])
    assert any(calls) and [g is None for g in found[0]] == [g is None for g in found[1]]
    for one, other in zip(*found):
        if one is not None:
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


def test_what_keeps_to_torch(calls):
    """Other dtypes, no rows, and a layer that is none of ours."""
    layer = products.Linear(8, 4)
    assert layer(torch.empty(0, 8)).shape == (0, 4)
    assert copy.deepcopy(layer).double()(torch.randn(2, 8).double()).dtype == torch.float64
    assert calls and not any(calls)


def test_without_bias_and_without_gradients(calls):
    layer, x = products.Linear(8, 4, bias=False), torch.randn(3, 8)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), x @ layer.weight.t())
    torch.testing.assert_close(products.times(x.t(), x), x.t() @ x)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, x.sum(0).expand(4, 8))


def test_layers_become_ours_and_stay_plain():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    use_sdpa(model)
    assert type(model[0]) is products.Linear and products.is_plain_linear(model[0])
    model[0].register_forward_hook(lambda *_: None)
    assert not products.is_plain_linear(model[0])
