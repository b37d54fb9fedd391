"""Compact training: the same gradients and steps as masked, for the columns' memory alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fairseq_dwt import DwtError
from fairseq_dwt.find.controls import bitfit, random_columns, random_elements
from fairseq_dwt.model.names import is_head, ticket_matrices
from fairseq_dwt.model.roberta import canonical_name
from fairseq_dwt.ticket import Columns, ElementMask, Origin, Ticket
from fairseq_dwt.ticket.part import Part
from fairseq_dwt.train.compact import (
    ColumnLinear,
    ElementLinear,
    compact_layers,
    make_compact,
    write_back,
)
from fairseq_dwt.train.marks import mark_trained
from fairseq_dwt.train.masked import freeze_outside, frozen_entries_kept
from tests.conftest import WORDS, roberta

ORIGIN = Origin("random")


@pytest.fixture(scope="module")
def model():
    """A tiny RoBERTa in float64 with a head, attention through its modules, without dropout."""
    from fairseq_dwt.model.encoder import use_sdpa

    model = roberta(WORDS).double().train()
    model.register_classification_head("sentence_classification_head", num_classes=2)
    model.double()
    use_sdpa(model)
    return model


@pytest.fixture(scope="module")
def matrices(model):
    shapes = {canonical_name(n): p.shape for n, p in model.named_parameters()}
    return ticket_matrices({n: shape for n, shape in shapes.items() if n})


def tickets(matrices):
    everything = {m.name: Columns(m.shape, tuple(range(m.in_features + 1))) for m in matrices}
    half = {m.name: Columns(m.shape, (3, 1)) for m in matrices[::2]}
    biases = {  # single entries of the bias, and of one matrix nothing else
        m.name: torch.zeros(m.out_features, m.in_features + 1, dtype=torch.bool) for m in matrices
    }
    for mask in biases.values():
        mask[::3, -1] = True
    return {
        "no column": random_columns(matrices, 0, 1, ORIGIN),
        "one column": random_columns(matrices, 1, 1, ORIGIN),
        "three columns": random_columns(matrices, 3, 2, ORIGIN),
        "bias only": bitfit(matrices, ORIGIN),
        "all columns": Ticket(everything, ORIGIN),
        "some matrices": Ticket(half, ORIGIN),
        "single entries": random_elements(matrices, 5, 1, ORIGIN),
        "single entries of biases": ElementMask(biases, ORIGIN),
    }


KINDS = [
    "no column",
    "one column",
    "three columns",
    "bias only",
    "all columns",
    "some matrices",
    "single entries",
    "single entries of biases",
]


def batch():
    """Tokens (batch, length), the second sentence padded; labels."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, 30, (4, 7), generator=generator)
    tokens[:, 0] = 0
    tokens[1, 4:] = 1
    return tokens, torch.tensor([0, 1, 1, 0])


def loss(model):
    tokens, labels = batch()
    logits, _ = model(
        tokens, features_only=True, classification_head_name="sentence_classification_head"
    )
    return nn.functional.cross_entropy(logits, labels)


def whole(compact, values):
    """Tensors in the layout of the plain model: ``{name: values}`` of compact parameters."""
    layers = {n: m for n, m in compact.named_modules() if hasattr(m, "parts")}
    plain = {}
    for name, value in values.items():
        layer, _, part = name.rpartition(".")
        if layer not in layers or part not in layers[layer].parts():
            plain[name] = value
            continue
        module = layers[layer]
        full = torch.zeros_like(getattr(module, module.parts()[part][0]))
        if part == "columns":
            full[:, module.index] = value
        else:
            full.view(-1)[getattr(module, f"{part}_index").long()] = value
        plain[f"{layer}.{module.parts()[part][0]}"] = full
    return plain


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_masked_ones(kind, model, matrices):
    ticket = tickets(matrices)[kind]
    masked, compact = copy.deepcopy(model), copy.deepcopy(model)
    assert freeze_outside(masked, ticket) == make_compact(compact, ticket)
    for m in (masked, compact):
        loss(m).backward()
    expected = {n: p.grad for n, p in masked.named_parameters() if p.requires_grad}
    got = whole(compact, {n: p.grad for n, p in compact.named_parameters() if p.requires_grad})
    assert set(got) == set(expected)
    for name, grad in expected.items():
        torch.testing.assert_close(got[name], grad, atol=1e-10, rtol=0, msg=name)
    size = sum(p.grad.numel() for n, p in compact.named_parameters() if p.requires_grad)
    head = sum(p.numel() for n, p in compact.named_parameters() if "classification_heads" in n)
    assert size == ticket.num_parameters + head


@pytest.mark.parametrize("kind", KINDS)
def test_100_steps_of_adamw_equal_masked_ones(kind, model, matrices):
    ticket = tickets(matrices)[kind]
    masked, compact = (copy.deepcopy(model).float() for _ in range(2))
    before = {name: tensor.clone() for name, tensor in masked.state_dict().items()}
    freeze_outside(masked, ticket)
    make_compact(compact, ticket)
    for m in (masked, compact):
        trained = [p for p in m.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.1)
        for _ in range(100):
            optimizer.zero_grad()
            loss(m).backward()
            nn.utils.clip_grad_norm_(trained, 0.5)
            with frozen_entries_kept(trained, [p.param_group for p in trained]):
                optimizer.step()
            write_back(m)
    expected, got = masked.state_dict(), compact.state_dict()
    assert list(got) == list(expected)
    moved = 0
    for name, tensor in expected.items():
        if name.endswith("k_proj.bias"):
            continue  # a softmax does not see it: its gradient is rounding noise, which Adam scales
        torch.testing.assert_close(got[name], tensor, atol=2e-5, rtol=0, msg=name)
        moved += int((got[name] != before[name]).sum())
    assert moved > 0


@pytest.mark.parametrize("kind", ["one column", "all columns", "single entries"])
def test_bits_outside_do_not_change(kind, model, matrices):
    ticket = tickets(matrices)[kind]
    compact = copy.deepcopy(model)
    before = copy.deepcopy(compact.state_dict())
    make_compact(compact, ticket)
    with torch.no_grad():
        for p in compact.parameters():
            if p.requires_grad:
                p.add_(1.0)
    write_back(compact)
    for name, tensor in compact.state_dict().items():
        matrix = next((m for m in matrices if canonical_name(name) in (m.weight, m.bias)), None)
        inside = torch.tensor("classification_heads" in name)
        if matrix is not None:
            part = ticket.parts([matrix]).get(canonical_name(name))
            inside = torch.tensor(False) if part is None else part.mask()
        assert torch.equal(tensor != before[name], inside.expand(tensor.shape)), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_dict_is_plain_and_loads_both_ways(kind, model, matrices):
    compact = copy.deepcopy(model)
    make_compact(compact, tickets(matrices)[kind])
    saved = compact.state_dict()
    assert list(saved) == list(model.state_dict())
    changed = {name: tensor + 1 for name, tensor in saved.items()}
    compact.load_state_dict(changed, strict=True)
    write_back(compact)  # would put back old columns, had they not been loaded
    for name, tensor in compact.state_dict().items():
        # fairseq 0.12.2's second copy of the weights is made anew at every load
        if canonical_name(name) or is_head(name):
            assert torch.equal(tensor, changed[name]), name
    copy.deepcopy(model).load_state_dict(saved, strict=True)
    missing = {name: tensor for name, tensor in saved.items() if "fc1.weight" not in name}
    with pytest.raises((RuntimeError, KeyError), match="fc1.weight"):  # 0.12.2 raises the latter
        compact.load_state_dict(missing, strict=True)


def saved_bytes(module, x):
    """Bytes that the backward pass keeps, parameters aside; a storage counted once."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = module(x)
    for parameter in module.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    assert out.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("k", [1, 3])
def test_a_column_layer_keeps_its_columns_of_the_input(k):
    linear = ColumnLinear(nn.Linear(64, 32), torch.arange(0, 2 * k, 2), True)
    x = torch.randn(10, 5, 64, requires_grad=True)
    assert saved_bytes(linear, x) == 50 * k * 4


def test_a_bias_alone_keeps_nothing_of_the_input():
    linear = nn.Linear(64, 32)
    linear.weight.requires_grad_(False)
    x = torch.randn(10, 5, 64, requires_grad=True)
    assert saved_bytes(linear, x) == 0


def test_an_input_without_gradient_gets_none():
    linear = ColumnLinear(nn.Linear(4, 3), torch.tensor([1]), True)
    x = torch.randn(2, 4)
    linear(x).sum().backward()
    torch.testing.assert_close(linear.columns.grad, x[:, [1]].sum(0).expand(3, 1))


def test_survives_deepcopy_and_dtype(model, matrices):
    compact = copy.deepcopy(model)
    make_compact(compact, tickets(matrices)["three columns"])
    half = copy.deepcopy(compact).to(torch.bfloat16)
    for layer in compact_layers(half):
        assert torch.equal(layer.columns, layer.weight[:, layer.index])
        assert layer.index.dtype == torch.int64


def test_refuses_a_layer_that_is_not_plain(model, matrices):
    class Other(nn.Linear):
        pass

    odd = copy.deepcopy(model)
    odd.encoder.sentence_encoder.layers[1].fc1 = Other(8, 16)
    with pytest.raises(DwtError, match=r"layers.1.fc1: expected a plain linear .*, got Other"):
        make_compact(odd, tickets(matrices)["one column"])


def test_refuses_a_layer_without_a_bias(model, matrices):
    odd = copy.deepcopy(model)
    odd.encoder.sentence_encoder.layers[1].fc1 = nn.Linear(8, 16, bias=False)
    with pytest.raises(DwtError, match=r"layers.1.fc1: expected a plain linear layer with a bias"):
        make_compact(odd, tickets(matrices)["one column"])


def test_refuses_a_layer_with_quantization_noise(model, matrices):
    from fairseq.modules.quant_noise import quant_noise

    odd = copy.deepcopy(model)
    quant_noise(odd.encoder.sentence_encoder.layers[0].fc2, p=0.1, block_size=2)
    with pytest.raises(DwtError, match=r"layers.0.fc2: .* got Linear with hooks"):
        make_compact(odd, tickets(matrices)["one column"])


def test_an_element_layer_equals_the_dense_gradient():
    linear = nn.Linear(6, 4).double()
    dense = copy.deepcopy(linear)
    mask, bias_mask = torch.rand(4, 6) < 0.3, torch.rand(4) < 0.5
    mask[0, 0] = bias_mask[0] = True
    layer = ElementLinear(linear, entries(mask), entries(bias_mask))
    x = torch.randn(3, 2, 6, dtype=torch.float64)
    for module in (layer, dense):
        module(x).square().sum().backward()
    torch.testing.assert_close(layer.weight_entries.grad, dense.weight.grad[mask])
    torch.testing.assert_close(layer.bias_entries.grad, dense.bias.grad[bias_mask])


def entries(mask):
    return Part(tuple(mask.shape), entries=mask.reshape(-1).nonzero().squeeze(1))


def test_marks_survive_a_copy_as_a_copy():
    parameter = nn.Parameter(torch.zeros(2))
    mark = mark_trained(parameter)
    assert mark.is_of(parameter)
    assert not copy.deepcopy(mark).is_of(parameter)
