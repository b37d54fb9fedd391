from __future__ import annotations

import pytest
import torch
from torch import nn

from fairseq_dwt import DwtError
from fairseq_dwt.find.l1 import InitDistance, first_difference

NAME = "encoder.sentence_encoder.layers.0.fc1.weight"


class Model(nn.Module):
    """A model whose parameters are named as in a RoBERTa that a data-parallel wrapper holds."""

    def __init__(self, tensors):
        super().__init__()
        for name, tensor in tensors.items():
            owner = self
            *path, last = ("module." + name).split(".")
            for part in path:
                if not hasattr(owner, part):
                    owner.add_module(part, nn.Module())
                owner = getattr(owner, part)
            owner.register_parameter(last, nn.Parameter(tensor.clone()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_value_and_gradient(dtype):
    init = torch.tensor([[0.5, 1.0], [2.0, -1.0]])
    now = torch.tensor([[0.5, 0.0], [2.5, -1.0]])
    model = Model({NAME: now.to(dtype)})
    distance = InitDistance({NAME: init}, "f")(model)
    assert distance.dtype == torch.float32
    assert distance.item() == 1.5
    (3 * distance).backward()
    parameter = next(model.parameters())
    assert parameter.grad.dtype == dtype
    # sign(0) = 0
    assert parameter.grad.tolist() == [[0, -3], [3, 0]]


def test_a_parameter_larger_than_a_chunk():
    generator = torch.Generator().manual_seed(0)
    init = torch.randn(3, 100_003, generator=generator)
    now = init + torch.randn(init.shape, generator=generator).sign() * 0.25
    model = Model({NAME: now})
    distance = InitDistance({NAME: init}, "f")(model)
    assert distance.item() == pytest.approx((now - init).abs().sum(dtype=torch.float64).item())
    distance.backward()
    assert torch.equal(next(model.parameters()).grad, (now - init).sign())


def test_the_norm_of_an_fp16_model_does_not_overflow():
    model = Model({NAME: torch.full((400, 400), 1.0).half()})
    assert InitDistance({NAME: torch.zeros(400, 400).half()}, "f")(model).item() == 160_000


def test_an_fp32_theta_0_against_an_fp16_model_is_no_distance():
    init = torch.full((4, 4), 0.1)  # not representable in fp16
    model = Model({NAME: init.half()})
    distance = InitDistance({NAME: init}, "f")(model)
    distance.backward()
    assert distance.item() == 0
    assert not next(model.parameters()).grad.any()


def test_only_trained_parameters_of_layers_count():
    names = {
        NAME: True,
        "encoder.sentence_encoder.layers.0.fc1.bias": False,
        "encoder.sentence_encoder.embed_tokens.weight": True,
        "classification_heads.h.dense.weight": True,
    }
    model = Model({name: torch.ones(2) for name in names})
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(names[name[len("module.") :]])
    init = {name: torch.zeros(2) for name in names}
    assert InitDistance(init, "f")(model).item() == 2


def test_a_task_that_computes_with_a_part_of_the_model_moves_all_that_is_covered():
    """multilingual_translation gives its criterion the model of one pair of languages."""
    whole = nn.ModuleDict({"a": nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(2, 2)])})})
    named = {name: name for name, _ in whole.named_parameters()}
    init = {name: torch.zeros_like(p) for name, p in whole.named_parameters()}
    distance = InitDistance(init, "f", named)
    distance.cover(whole)
    expected = sum(float(p.abs().sum()) for p in whole.parameters())
    assert distance(whole["a"]).item() == pytest.approx(expected) and expected > 0


def test_a_missing_or_misshapen_tensor_of_theta_0_is_named():
    model = Model({NAME: torch.ones(2, 2)})
    with pytest.raises(DwtError, match="f.pt: expected tensor .*fc1.weight .* found none"):
        InitDistance({}, "f.pt")(model)
    with pytest.raises(DwtError, match=r"found shape \(3, 2\)"):
        InitDistance({NAME: torch.zeros(3, 2)}, "f.pt")(model)


def test_first_difference_names_the_first_tensor_and_sees_one_bit():
    init = {NAME: torch.ones(2), NAME.replace("fc1", "fc2"): torch.ones(2)}
    model = Model(init)
    assert first_difference(model, init) is None
    init[NAME.replace("fc1", "fc2")] = torch.tensor([1.0, 1.0000001])
    assert first_difference(model, init) == NAME.replace("fc1", "fc2")
