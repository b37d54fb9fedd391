"""Deltas attached and detached: the base comes back bit for bit."""

from __future__ import annotations

import random

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import Pretrained, Tuned, fingerprint
from fairseq_dwt.delta import export, merge
from fairseq_dwt.find.controls import bitfit, random_columns, random_elements
from fairseq_dwt.serving import DeltaHost
from fairseq_dwt.serving.model import load_roberta
from fairseq_dwt.ticket import ElementMask, Ticket, origin_of
from tests.conftest import fine_tuned, write_roberta


@pytest.fixture(scope="module")
def deltas(pretrained, deltas_of):
    """Of five tasks; ``a`` and ``b`` overlap in the biases, ``c`` with neither."""
    origin = origin_of("random", pretrained)
    matrices = pretrained.matrices
    biases = bitfit(matrices, origin)
    one = random_columns(matrices, 2, 1, origin).difference(biases)
    two = random_columns(matrices, 3, 2, origin).difference(one).difference(biases)
    tickets = {
        "a": one.union(biases),
        "b": biases,
        "c": two,
        "d": random_columns(matrices, 1, 5, origin),
        "e": random_elements(matrices, 5, 1, origin),
    }
    return deltas_of(tickets)


@pytest.fixture(params=[torch.float32, torch.float16, torch.bfloat16])
def model(pretrained, request):
    return load_roberta(pretrained, dtype=request.param)


def bits(model):
    return {n: t.detach().clone().view(torch.int16) for n, t in model.state_dict().items()}


def same(left, right):
    return list(left) == list(right) and all(torch.equal(t, right[n]) for n, t in left.items())


TOKENS = torch.tensor([[0, 5, 6, 7, 2], [0, 9, 2, 1, 1]])


def test_attached_is_merged_and_detached_is_the_base(pretrained, deltas):
    model = load_roberta(pretrained)
    before = bits(model)
    host = DeltaHost(model)
    assert host.base == pretrained.fingerprint
    for name, delta in deltas.items():
        host.attach(name, delta)
        merged = merge(pretrained, delta)
        state = model.state_dict()
        for key, tensor in merged.items():
            key = key.replace("sentence_classification_head", name)
            assert torch.equal(state[key], tensor), key
        logits, _ = model(TOKENS, features_only=True, classification_head_name=name)
        assert logits.shape == (2, delta.num_classes)
        host.detach(name)
        assert same(bits(model), before)


def test_1000_random_cycles_leave_every_bit(pretrained, deltas, model):
    before = bits(model)
    host = DeltaHost(model, pretrained.fingerprint)
    generator = random.Random(0)
    for _ in range(1000):
        name = generator.choice(sorted(deltas))
        if name in host.attached:
            host.detach(name)
        else:
            host.attach(name, deltas[name], wins=generator.random() < 0.5)
    for name in generator.sample(host.attached, len(host.attached)):
        host.detach(name)
    assert same(bits(model), before)


def test_overlapping_deltas_need_a_winner(pretrained, deltas):
    model = load_roberta(pretrained)
    name = "encoder.sentence_encoder.layers.1.fc1.bias"
    host = DeltaHost(model)
    host.attach("a", deltas["a"])
    before = bits(model)
    with pytest.raises(DwtError, match="^b: trained columns of .* that a, which is attached"):
        host.attach("b", deltas["b"])
    assert same(bits(model), before) and host.attached == ["a"]
    host.attach("c", deltas["c"])  # claims other columns
    host.attach("b", deltas["b"], wins=False)
    assert torch.equal(model.state_dict()[name], deltas["a"].values[name].float())
    host.detach("b")
    host.attach("b", deltas["b"], wins=True)
    assert torch.equal(model.state_dict()[name], deltas["b"].values[name].float())
    host.detach("b")
    assert torch.equal(model.state_dict()[name], deltas["a"].values[name].float())


def test_overlap_is_seen_between_columns_and_single_entries(pretrained, deltas):
    everything = {
        m.name: torch.ones(m.out_features, m.in_features + 1, dtype=torch.bool)
        for m in pretrained.matrices[:1]
    }
    ticket = ElementMask(everything, origin_of("random", pretrained))
    assert isinstance(deltas["a"].ticket, Ticket)

    name = pretrained.matrices[0].weight
    mask, columns = ticket.parts(pretrained.matrices)[name], deltas["a"].parts[name]
    assert mask.overlap(columns) == columns.overlap(mask) == columns.columns.numel() * 8


def test_switching_is_attaching_after_detaching(pretrained, deltas):
    model = load_roberta(pretrained)
    before = bits(model)
    host = DeltaHost(model)
    host.attach("a", deltas["a"])
    host.attach("b", deltas["b"], wins=True)
    host.switch("a", deltas["c"])
    assert host.attached == ["a"]
    assert list(model.classification_heads) == ["a"]
    name = pretrained.matrices[0].weight
    assert torch.equal(model.state_dict()[name], merge(pretrained, deltas["c"])[name])
    host.detach("a")
    assert same(bits(model), before)


def test_refuses_and_changes_nothing(pretrained, deltas, small, tmp_path):
    model = load_roberta(pretrained)
    before = bits(model)
    host = DeltaHost(model)
    other_path = str(tmp_path / "other.pt")
    write_roberta(other_path, small.data, seed=9)
    other = Pretrained(other_path)
    ticket = random_columns(other.matrices, 1, 1, origin_of("random", other))
    tuned = Tuned(fine_tuned(other, ticket, tmp_path / "tuned.pt"))
    with pytest.raises(DwtError, match="^x: belongs to the pre-trained model"):
        host.attach("x", export(other, tuned, ticket, tuned.labels))
    for name in ("", "a.b", "keys"):
        with pytest.raises(DwtError, match="expected a name without a dot"):
            host.attach(name, deltas["a"])
    with pytest.raises(DwtError, match="expected an attached delta"):
        host.detach("a")
    assert same(bits(model), before)
    host.attach("a", deltas["a"])
    with pytest.raises(DwtError, match="that no other head of the model has"):
        host.attach("a", deltas["c"])


def test_the_fingerprint_of_a_loaded_model_is_the_files(pretrained):
    model = load_roberta(pretrained)
    assert DeltaHost(model).base == fingerprint(pretrained.tensors) == pretrained.fingerprint
