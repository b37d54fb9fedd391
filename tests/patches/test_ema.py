"""A moving average of the ticket: averaged inside, copied outside."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fairseq.models.ema.ema import EMA
from torch import nn

from fairseq_dwt.patches.ema import average_inside, build_ema
from fairseq_dwt.ticket.part import Part

CONFIG = SimpleNamespace(
    ema_decay=0.9, ema_start_update=0, ema_fp32=False, ema_update_freq=1, ema_seed_model=None
)


@pytest.mark.parametrize("fp32", [False, True])
def test_only_the_ticket_is_averaged(fp32):
    model, part = nn.Linear(4, 3), Part((3, 4), columns=torch.tensor([1, 3]))
    average_inside(model, {"weight": part})
    average = build_ema(model, SimpleNamespace(**{**vars(CONFIG), "ema_fp32": fp32}), None)
    before = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
        model.bias.add_(1)
    average.step(model, updates=1)
    moved = average.get_model().weight - before
    expected = torch.ones(3, 4)
    expected[:, part.columns] = 0.1
    torch.testing.assert_close(moved.detach(), expected)
    assert torch.equal(average.get_model().bias, model.bias)


def test_other_models_are_averaged_as_before():
    assert type(build_ema(nn.Linear(2, 2), CONFIG, None)) is EMA


@pytest.mark.parametrize("inside", [False, True])
def test_every_second_update_is_averaged_after_a_resume_too(inside):
    config = SimpleNamespace(**{**vars(CONFIG), "ema_update_freq": 2})

    def averages(launches):
        model = nn.Linear(4, 3)
        nn.init.zeros_(model.weight)
        if inside:
            average_inside(model, {"weight": Part((3, 4), columns=torch.tensor([1]))})
        average = build_ema(model, config, None)
        for updates in launches:
            kept = average.get_model().state_dict()
            average = build_ema(model, config, None)
            average.restore(kept)
            for update in updates:
                with torch.no_grad():
                    model.weight.add_(1)
                average.step(model, updates=update)
        return average.get_model().weight

    assert torch.equal(averages([range(1, 7)]), averages([range(1, 4), range(4, 7)]))
