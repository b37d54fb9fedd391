"""Optimizer states on file: the trained entries alone, readable in every layout."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fairseq_dwt import DwtError
from fairseq_dwt.ticket.part import Part
from fairseq_dwt.train.states import Layout, from_file, to_file

#: Two columns of three.
COLUMNS = Part((2, 3), columns=torch.tensor([0, 2]))


def dense():
    """A (2, 3) matrix of which two columns train, and a bias: 6 entries."""
    return [nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(2))], [COLUMNS, Part((2,))]


def compact():
    return [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))], [
        Part((2, 2)),
        Part((2,)),
    ]


def flat():
    return [nn.Parameter(torch.zeros(6))], [Part((6,))]


def trained(layout_of):
    """A layout and the state of an Adam that has seen entry i's gradient as i + 1."""
    parameters, parts = layout_of()
    layout = Layout(parts)
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    entries = torch.arange(1.0, 7.0).split(layout.sizes)
    for i, p in enumerate(parameters):
        p.grad = layout.scatter(i, entries[i], torch.zeros_like(p))
    optimizer.step()
    return layout, optimizer


@pytest.mark.parametrize("source", [dense, compact, flat])
@pytest.mark.parametrize("target", [dense, compact, flat])
def test_a_state_is_the_same_in_every_layout(source, target):
    layout, optimizer = trained(source)
    saved = to_file(optimizer.state_dict(), layout)
    moments = torch.cat([s["exp_avg"] for s in saved["state"].values()])
    torch.testing.assert_close(moments, torch.arange(1.0, 7.0) * 0.1)
    expected_layout, expected = trained(target)
    parameters, parts = target()
    fresh = torch.optim.Adam(parameters, lr=7.0)
    fresh.load_state_dict(from_file(saved, Layout(parts), fresh.state_dict()))
    for a, b in zip(fresh.state.values(), expected.state.values()):
        assert set(a) == set(b)
        for key in a:
            torch.testing.assert_close(a[key], b[key], msg=key)
    assert fresh.param_groups[0]["lr"] == 0.1


def test_refuses_states_of_another_ticket():
    layout, optimizer = trained(compact)
    saved = to_file(optimizer.state_dict(), layout)
    other = [nn.Parameter(torch.zeros(7))]
    fresh = torch.optim.Adam(other)
    with pytest.raises(DwtError, match="expected optimizer states of 7 trained entries, got 6"):
        from_file(saved, Layout([Part((7,))]), fresh.state_dict())


def test_states_that_are_not_one_number_an_entry_resume_in_their_own_layout_only():
    layout, optimizer = trained(compact)
    state = copy.deepcopy(optimizer.state_dict())
    for values in state["state"].values():
        values["row"] = torch.ones(1)
    saved = to_file(state, layout)
    same = from_file(saved, layout, optimizer.state_dict())
    assert torch.equal(same["state"][0]["row"], torch.ones(1))
    parameters, parts = flat()
    fresh = torch.optim.Adam(parameters)
    with pytest.raises(DwtError, match="'row' is not one number per trained entry"):
        from_file(saved, Layout(parts), fresh.state_dict())
