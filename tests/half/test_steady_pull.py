"""A loss that pulls five times weaker than λ: L1 must hold every weight, in every precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fairseq_dwt.find.dominant import out_weighted
from fairseq_dwt.find.l1 import InitDistance

NAME = "encoder.sentence_encoder.layers.0.fc1.weight"
SIGMA, L1_LAMBDA, UPDATES, LR = 5e-5, 1e-3, 300, 1e-5


class OneMatrix(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.w = nn.Parameter(weight)

    def named_parameters(self, *args, **kwargs):
        yield NAME, self.w


def stage_1(dtype, follow):
    """θ (fp32) after stage 1 on a matrix as RoBERTa's file has it, and its θ0 in the model's dtype."""
    generator = torch.Generator().manual_seed(0)
    init = (0.05 * torch.randn(512, 64, generator=generator)).half().float()
    model = OneMatrix(init.to(dtype))
    copy = nn.Parameter(model.w.detach().float())
    pull = L1_LAMBDA / 5 * torch.randn(init.shape, generator=generator).sign()
    adam = torch.optim.Adam([copy], betas=(0.9, 0.98), eps=1e-6)
    distance = InitDistance({NAME: init}, "f")
    if follow:
        distance.follow({model.w: copy.detach()})
    for update in range(UPDATES):
        for group in adam.param_groups:
            group["lr"] = LR * (1 - update / UPDATES)
        model.w.grad = None
        (L1_LAMBDA * distance(model)).backward()
        noise = L1_LAMBDA / 10 * torch.randn(init.shape, generator=generator)
        copy.grad = model.w.grad.float() + pull + noise
        adam.step()
        model.w.data.copy_(copy.data)
    return copy.detach(), init.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_holds_every_weight(dtype):
    theta, init = stage_1(dtype, follow=True)
    assert int(out_weighted(init, theta, SIGMA).sum()) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_rounded_weights_would_let_many_through(dtype):
    theta, init = stage_1(dtype, follow=False)
    assert int(out_weighted(init, theta.to(dtype), SIGMA).sum()) > 500
