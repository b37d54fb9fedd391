"""attend: equal to the formula, to SDPA with dropout, and lighter than it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fairseq_dwt.model.attention import attend

LENGTH, BATCH, HEADS, WIDTH = 5, 3, 2, 8


@pytest.fixture
def projected():
    generator = torch.Generator().manual_seed(0)
    shape = (LENGTH, BATCH, WIDTH)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(3)
    ]


@pytest.fixture
def excluded():
    mask = torch.zeros(BATCH, LENGTH, dtype=torch.bool)
    mask[1, 3:] = mask[2, 1:] = True
    return mask


def by_hand(q, k, v, excluded):
    """One sentence and one head at a time."""
    out = torch.zeros_like(q)
    size = WIDTH // HEADS
    for b in range(BATCH):
        keys = torch.arange(LENGTH) if excluded is None else (~excluded[b]).nonzero().squeeze(1)
        for h in range(HEADS):
            part = slice(h * size, (h + 1) * size)
            scores = q[:, b, part] @ k[keys, b, part].t() / size**0.5
            out[:, b, part] = scores.softmax(-1) @ v[keys, b, part]
    return out


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 1e-12])
def test_is_the_formula(projected, excluded, padded, dropout):
    mask = excluded if padded else None
    got = attend(*projected, HEADS, mask, dropout)
    expected = by_hand(*(t.detach() for t in projected), mask)
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)


def test_gradients_with_dropout_are_those_of_the_function(projected, excluded):
    def once(*qkv):
        torch.manual_seed(1)
        return attend(*qkv, HEADS, excluded, 0.4)

    assert torch.autograd.gradcheck(once, projected)


@pytest.mark.parametrize("padded", [False, True])
def test_drops_what_sdpa_drops(projected, excluded, padded):
    def heads(x):
        return x.reshape(LENGTH, BATCH, HEADS, -1).permute(1, 2, 0, 3)

    mask = excluded if padded else None
    torch.manual_seed(3)
    got = attend(*projected, HEADS, mask, 0.5)
    torch.manual_seed(3)
    keep = None if mask is None else ~mask[:, None, None, :]
    expected = F.scaled_dot_product_attention(*map(heads, projected), keep, dropout_p=0.5)
    expected = expected.permute(2, 0, 1, 3).reshape(LENGTH, BATCH, WIDTH)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)
    ours = torch.autograd.grad(got.square().sum(), projected)
    theirs = torch.autograd.grad(expected.square().sum(), projected)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


def test_keeps_q_k_v_and_a_byte_a_weight(projected):
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        attend(*projected, HEADS, None, 0.1)
    inputs = 3 * LENGTH * BATCH * WIDTH * 8
    assert sum(kept.values()) == inputs + BATCH * HEADS * LENGTH * LENGTH
