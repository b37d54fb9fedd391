"""Dropout drawn in bulk: as many numbers dropped, independent of each other, the mean exact."""

from __future__ import annotations

import pytest
import torch

from fairseq_dwt.model.dropout import Draw, dropout, dropped


@pytest.mark.parametrize("p", [0.1, 0.5, 0.003])
def test_numbers_are_dropped_with_the_probability_that_it_says(p):
    torch.manual_seed(0)
    count = 4_000_000
    kept = Draw.of(p).kept((count,))
    share, said = 1 - kept.double().mean().item(), dropped(p)
    assert abs(said - p) <= 2**-17
    assert abs(share - said) < 5 * (said * (1 - said) / count) ** 0.5
    # the four numbers of a draw, and neighbours of it, know nothing of each other
    for lag in (1, 2, 3, 4):
        both = (~kept[:-lag] & ~kept[lag:]).double().mean().item()
        assert abs(both - said**2) < 5 * (said**2 / count) ** 0.5 + 1e-9


def test_all_or_nothing():
    x = torch.randn(5, 7)
    assert dropout(x, 0.0) is x
    assert not dropout(x, 1.0).any()


def test_what_is_kept_is_scaled_and_the_gradient_is_of_the_same_numbers():
    torch.manual_seed(0)
    x = torch.randn(501, 3, dtype=torch.float64, requires_grad=True)
    y = dropout(x, 0.25)
    y.sum().backward()
    kept = y != 0
    torch.testing.assert_close(y[kept], x[kept] / 0.75)
    torch.testing.assert_close(x.grad, kept / 0.75, check_dtype=False)
    assert 0.2 < 1 - kept.double().mean() < 0.3


def test_a_seed_repeats_it_and_odd_sizes_are_whole():
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(Draw.of(0.5).kept((3, 7, 5)))
    assert drawn[0].shape == (3, 7, 5)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
