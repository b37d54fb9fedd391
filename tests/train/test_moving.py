"""A moving slice: what it trains equals dense training under a mask that moves."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.find.controls import random_slice
from fairseq_dwt.model.anatomy import anatomy_of
from fairseq_dwt.ticket import Origin
from fairseq_dwt.train.compact import make_compact, write_back
from fairseq_dwt.train.halves import forget
from fairseq_dwt.train.masked import freeze_outside
from fairseq_dwt.train.moving import MovingSlice

from .test_compact import loss, matrices, model  # noqa: F401  fixtures

ORIGIN, EVERY = Origin("slice"), 3


@pytest.fixture
def draw(matrices):  # noqa: F811
    return lambda number: random_slice(matrices, 2, 1, number, ORIGIN)


def test_draws_differ_and_do_not_change_between_machines(draw, matrices):  # noqa: F811
    first = matrices[0].name
    drawn = [draw(number).matrices[first].columns for number in range(3)]
    assert drawn == [(6, 3), (7, 0), (1, 6)]
    assert all(matrices[0].in_features not in columns for columns in drawn)
    with pytest.raises(DwtError, match="has 8 input columns for a slice, got k = 9"):
        random_slice(matrices, 9, 1, 0, ORIGIN)


def test_steps_of_adam_equal_dense_ones_whose_mask_moves(model, matrices, draw):  # noqa: F811
    """Adam begins anew in the columns that are taken up; in others W stays as it was left."""
    plain, compact = copy.deepcopy(model), copy.deepcopy(model)
    layers = anatomy_of(plain).layers
    make_compact(compact, draw(0))
    moving = MovingSlice(compact, layers, draw, EVERY)
    trained = [p for p in compact.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trained, lr=1e-2)
    head_of = {n for n, p in plain.named_parameters() if "classification_heads" in n}
    states = {}
    for updates in range(1, 8):
        # the reference: a new dense Adam for each slice, which keeps the head's state
        if (updates - 1) % EVERY == 0:
            for parameter in plain.parameters():
                parameter._backward_hooks = None
            freeze_outside(plain, draw((updates - 1) // EVERY))
            dense = {n: p for n, p in plain.named_parameters() if p.requires_grad}
            fresh = torch.optim.Adam(dense.values(), lr=1e-2)
            fresh.state.update({dense[n]: states[n] for n in head_of if states})
        for one, optimizer in ((plain, fresh), (compact, adam)):
            optimizer.zero_grad()
            loss(one).backward()
            optimizer.step()
        write_back(compact)
        moving.move(updates, SimpleNamespace(optimizer=adam))
        states = {n: fresh.state[p] for n, p in dense.items()}
        got = compact.state_dict()
        for name, tensor in plain.state_dict().items():
            torch.testing.assert_close(got[name], tensor, atol=1e-10, rtol=0, msg=name)
    union = moving.trained()
    assert all(len(entry.columns) > 2 for entry in union.matrices.values())
    for layer, matrix in layers.items():
        index = dict(compact.named_modules())[layer].index.tolist()
        assert index == sorted(draw(2).matrices[matrix.name].columns)


def test_separate_copies_take_the_new_values_and_lose_their_states():
    """fairseq's fp16: the optimizer steps fp32 copies."""
    parameters = [torch.nn.Parameter(torch.full((2,), 3.0).half()) for _ in range(2)]
    copies = [torch.nn.Parameter(torch.zeros(2)) for _ in parameters]
    adam = torch.optim.Adam(copies)
    for copied in copies:
        copied.grad = torch.ones(2)
    adam.step()
    fp16 = SimpleNamespace(fp16_params=parameters, fp32_params=copies, optimizer=adam)
    forget(fp16, [parameters[1]])
    assert copies[1].tolist() == [3.0, 3.0] and copies[0].tolist() != [3.0, 3.0]
    assert copies[1] not in adam.state and copies[0] in adam.state
