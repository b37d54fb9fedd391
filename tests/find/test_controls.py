from __future__ import annotations

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.find.controls import bitfit, largest_weights, random_columns, random_elements
from fairseq_dwt.model.names import Matrix
from fairseq_dwt.ticket import Columns, Ticket

from .test_dominant import FC1, FC2, ORIGIN


def test_random_columns_are_seeded_distinct_and_uniform():
    wide = Matrix(0, "FC2", "layers.0.fc2", 4, 9)
    drawn = [
        random_columns([wide], 3, seed, ORIGIN).matrices[wide.name].columns for seed in range(2000)
    ]
    assert drawn[7] == random_columns([wide], 3, 7, ORIGIN).matrices[wide.name].columns
    assert all(len(set(columns)) == 3 for columns in drawn)
    counts = torch.bincount(torch.tensor(drawn).view(-1), minlength=10)
    # 600 expected of each of the ten, the bias among them; σ is about 20
    assert counts.min() > 500 and counts.max() < 700


def test_random_columns_do_not_change_between_machines():
    assert random_columns([FC1, FC2], 2, 1, ORIGIN).matrices == {
        FC1.name: Columns((6, 4), (1, 0)),
        FC2.name: Columns((4, 6), (2, 0)),
    }


def test_random_like_a_ticket_draws_as_many_columns_as_it_has():
    like = Ticket({FC1.name: Columns((6, 4), (0, 1, 2), (3, 2, 1))}, ORIGIN)
    assert {
        n: len(e.columns)
        for n, e in random_columns([FC1, FC2], 2, 1, ORIGIN, like).matrices.items()
    } == {FC1.name: 2}


def test_too_many_columns_are_refused():
    with pytest.raises(DwtError, match="layers.0.fc1 has 5 columns, got k = 6"):
        random_columns([FC1], 6, 1, ORIGIN)


def test_random_elements_are_an_exact_share_of_each_matrix():
    mask = random_elements([FC1, FC2], 50, 1, ORIGIN)
    assert [int(m.sum()) for m in mask.masks.values()] == [15, 14]
    with pytest.raises(DwtError, match="percent: expected a number above 0"):
        random_elements([FC1], 0, 1, ORIGIN)
    for seed in (-1, 2**32):
        with pytest.raises(DwtError, match=f"seed: expected .*, got {seed}"):
            random_elements([FC1], 5, seed, ORIGIN)


def test_weight_norm_wants_biases():
    weights = {FC1.weight: torch.ones(FC1.shape)}
    with pytest.raises(DwtError, match="layers.0.fc1.bias: expected a bias"):
        largest_weights([FC1], 1, weights, ORIGIN)


def test_bitfit_is_the_bias_column_of_every_matrix():
    assert {n: e.columns for n, e in bitfit([FC1, FC2], ORIGIN).matrices.items()} == {
        FC1.name: (4,),
        FC2.name: (6,),
    }
