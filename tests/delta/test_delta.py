"""Deltas: checkpoint = base + delta, bit for bit; files that are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import Pretrained, Tuned, load_checkpoint
from fairseq_dwt.delta.delta import SETTINGS, Delta, export, merge
from fairseq_dwt.delta.head import HEAD as HEAD_PARTS
from fairseq_dwt.find.controls import bitfit, random_columns, random_elements
from fairseq_dwt.model.names import ticket_matrices
from fairseq_dwt.ticket import Origin, origin_of
from tests.conftest import fine_tuned, write_roberta

HEAD = "classification_heads.sentence_classification_head."


@pytest.fixture(scope="module")
def pretrained(small):
    return Pretrained(small.init)


def tickets(pretrained):
    origin = origin_of("random", pretrained, seed=1)
    matrices = pretrained.matrices
    return {
        "one column": random_columns(matrices, 1, 1, origin),
        "three columns": random_columns(matrices, 3, 2, origin),
        "bias only": bitfit(matrices, origin),
        "no column": random_columns(matrices, 0, 1, origin),
        "single entries": random_elements(matrices, 5, 1, origin),
    }


KINDS = ["one column", "three columns", "bias only", "no column", "single entries"]
PRECISIONS = ["fp32", "fp16", "bf16"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_base_and_saved_delta_are_the_checkpoint(kind, precision, pretrained, tmp_path):
    ticket = tickets(pretrained)[kind]
    tuned = Tuned(fine_tuned(pretrained, ticket, tmp_path / "tuned.pt", precision))
    path = str(tmp_path / "task.safetensors")
    export(pretrained, tuned, ticket, tuned.labels, "RTE").save(path)
    delta = Delta.load(path)
    assert (delta.labels, delta.task, delta.num_classes) == (("l0", "l1"), "RTE", 2)
    assert delta.ticket.digest() == ticket.digest()
    merged, expected = merge(pretrained, delta), load_checkpoint(tuned.path)["model"]
    assert set(merged) == set(expected)
    for name, tensor in expected.items():
        assert merged[name].dtype == tensor.dtype and torch.equal(merged[name], tensor), name
    trained = sum(values.numel() for values in delta.values.values())
    assert trained == ticket.num_parameters
    # θ0 itself is not touched
    assert Pretrained(pretrained.path).fingerprint == pretrained.fingerprint


def test_the_base_is_not_kept(pretrained, tmp_path):
    ticket = tickets(pretrained)["one column"]
    tuned = Tuned(fine_tuned(pretrained, ticket, tmp_path / "tuned.pt", "fp16"))
    export(pretrained, tuned, ticket, tuned.labels).save(str(tmp_path / "d.safetensors"))
    from safetensors.torch import load_file

    saved = load_file(str(tmp_path / "d.safetensors"))
    size = sum(t.numel() * t.element_size() for t in saved.values())
    head = 8 * 8 + 8 + 2 * 8 + 2
    assert size == 2 * (ticket.num_parameters + head)


def test_refuses_a_checkpoint_that_moved_outside_and_says_where(pretrained, tmp_path):
    ticket = tickets(pretrained)["three columns"]
    tuned = Tuned(fine_tuned(pretrained, ticket, tmp_path / "tuned.pt"))
    with pytest.raises(DwtError, match=r"in \d+ tensors \(encoder.sentence_encoder.layers.0."):
        export(pretrained, tuned, tickets(pretrained)["no column"], tuned.labels)
    name = "encoder.lm_head.dense.bias"
    tuned.lm_head[name] = tuned.lm_head[name] + 1
    with pytest.raises(DwtError, match="encoder.lm_head.dense.bias"):
        export(pretrained, tuned, ticket, tuned.labels)


def test_refuses_a_checkpoint_without_a_head_and_labels_that_do_not_fit(pretrained, tmp_path):
    ticket = tickets(pretrained)["one column"]
    tuned = Tuned(fine_tuned(pretrained, ticket, tmp_path / "tuned.pt"))
    with pytest.raises(DwtError, match="expected a label for each of 2 classes, got 3"):
        export(pretrained, tuned, ticket, ["a", "b", "c"])
    tuned.tensors = {n: t for n, t in tuned.tensors.items() if "classification_heads" not in n}
    with pytest.raises(DwtError, match="expected one plain classification head, got none"):
        export(pretrained, tuned, ticket, tuned.labels)


@pytest.mark.parametrize(
    "name", ["encoder.pooler.weight", "layers.0.fc1.lora_A", "layers.2.fc1.weight"]
)
def test_refuses_tensors_that_the_base_lacks(name, pretrained, tmp_path):
    ticket = tickets(pretrained)["one column"]
    path = fine_tuned(pretrained, ticket, tmp_path / "tuned.pt")
    state = torch.load(path)
    name = name if name.startswith("encoder") else f"encoder.sentence_encoder.{name}"
    state["model"][name] = torch.ones(3)
    torch.save(state, path)
    tuned = Tuned(path)
    with pytest.raises(DwtError, match=f"in 1 tensors .{name}."):
        export(pretrained, tuned, ticket, tuned.labels)


def test_refuses_values_that_the_precision_of_training_does_not_have(pretrained, tmp_path):
    path = fine_tuned(pretrained, tickets(pretrained)["one column"], tmp_path / "t.pt", "fp16")
    state = torch.load(path)
    state["model"]["encoder.sentence_encoder.layers.1.fc1.weight"] *= 1 + 1e-5
    torch.save(state, path)
    with pytest.raises(DwtError, match="layers.1.fc1.weight: expected values of torch.float16"):
        Tuned(path)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"encoder_attention_heads": 4}, "encoder_attention_heads: expected 2 .* got 4"),
        # of which the base's file says nothing: fairseq takes tanh
        ({"pooler_activation_fn": "relu"}, "pooler_activation_fn: expected 'tanh' .* got 'relu'"),
    ],
)
def test_refuses_another_function_of_the_same_tensors(told, expected, pretrained, tmp_path):
    ticket = tickets(pretrained)["one column"]
    path = fine_tuned(pretrained, ticket, tmp_path / "tuned.pt")
    state = torch.load(path)
    state["cfg"]["model"] = told
    torch.save(state, path)
    pretrained.settings.pop("pooler_activation_fn", None)
    with pytest.raises(DwtError, match=expected):
        export(pretrained, Tuned(path), ticket, ["a", "b"])


@pytest.fixture
def saved(pretrained, tmp_path):
    ticket = tickets(pretrained)["one column"]
    tuned = Tuned(fine_tuned(pretrained, ticket, tmp_path / "tuned.pt", "fp16"))
    path = tmp_path / "task.safetensors"
    export(pretrained, tuned, ticket, tuned.labels).save(str(path))
    return path


def test_another_base_is_refused(saved, small, tmp_path):
    other = str(tmp_path / "other.pt")
    write_roberta(other, small.data, seed=9)
    with pytest.raises(DwtError, match="belongs to the pre-trained model .* got"):
        merge(Pretrained(other), Delta.load(str(saved)))


def test_truncated_files_are_refused(saved):
    data = saved.read_bytes()
    for length in [*range(0, 400, 13), *range(400, len(data), 997), len(data) - 1]:
        saved.write_bytes(data[:length])
        with pytest.raises(DwtError, match="task.safetensors"):
            Delta.load(str(saved))


def test_a_flipped_bit_anywhere_is_refused(saved):
    data = saved.read_bytes()
    for position in [*range(0, len(data), 61), len(data) - 1]:
        changed = bytearray(data)
        changed[position] ^= 4
        saved.write_bytes(bytes(changed))
        with pytest.raises(DwtError, match="task.safetensors"):
            Delta.load(str(saved))


def rewrite(path, change):
    """Save the delta again, its content changed and its digest right."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    from fairseq_dwt.files import checksum

    with safe_open(str(path), framework="pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    del metadata["sha256"]
    change(metadata, tensors)
    metadata["sha256"] = checksum(metadata, tensors)
    save_file(tensors, str(path), metadata=metadata)


def header(**changes):
    def change(metadata, _):
        metadata["delta"] = json.dumps({**json.loads(metadata["delta"]), **changes})

    return change


Q = "layers.0.self_attn.q_proj.weight"
ROTTEN = {
    "newer": (lambda m, t: m.update(version="2"), "expected version 1 of .*, got '2'; update"),
    "foreign": (lambda m, t: m.update(format="x"), 'expected "format" fairseq_dwt.delta'),
    "shape": (lambda m, t: t.update({Q: t[Q][:4].clone()}), r"expected shape \(8, 1\)"),
    "missing": (lambda m, t: t.pop(Q), r"expected shape \(8, 1\) .* got none"),
    "more": (lambda m, t: t.update(x=t[Q].clone()), "x: a tensor that its ticket does not have"),
    "dtype": (lambda m, t: t.update({Q: t[Q].float()}), "expected torch.float16"),
    "odd head": (
        lambda m, t: t.update({"head.dense.bias": torch.zeros(8, 3).half()}),
        "expected the shapes of one classification head",
    ),
    "position": (header(settings={"num_classes": 2}), "KeyError"),
    "head": (lambda m, t: t.pop("head.dense.bias"), "KeyError"),
    "labels": (header(labels=["a"]), "expected a label for each of 2"),
    "no dtype": (header(dtype="int8"), "KeyError"),
    "settings": (header(settings=[]), "TypeError"),
    "no JSON": (lambda m, t: m.update(delta="{"), "JSONDecodeError"),
    "ticket": (lambda m, t: m.update(ticket="{}"), 'expected "format": "fairseq_dwt.ticket"'),
}


@pytest.mark.parametrize("kind", ROTTEN)
def test_what_is_no_delta_is_refused_in_one_sentence(kind, saved):
    change, message = ROTTEN[kind]
    rewrite(saved, change)
    with pytest.raises(DwtError, match=message) as error:
        Delta.load(str(saved))
    assert "task.safetensors" in str(error.value) and "\n" not in str(error.value)


def test_a_delta_that_does_not_know_its_base_is_refused(saved):
    def forget(metadata, _):
        ticket = json.loads(metadata["ticket"])
        del ticket["base"], ticket["sha256"]
        metadata["ticket"] = json.dumps(ticket)

    rewrite(saved, forget)
    with pytest.raises(DwtError, match="does not say which pre-trained model"):
        Delta.load(str(saved))


def test_a_ticket_of_unknown_base_gets_the_one_it_was_exported_from(pretrained, tmp_path):
    ticket = tickets(pretrained)["one column"]
    ticket = replace(ticket, origin=replace(ticket.origin, base=None))
    tuned = Tuned(fine_tuned(pretrained, ticket, tmp_path / "tuned.pt"))
    assert export(pretrained, tuned, ticket, tuned.labels).base == pretrained.fingerprint


@pytest.mark.parametrize("k, limit", [(1, 500_000), (3, 1_400_000)])
def test_the_size_of_roberta_larges_deltas(k, limit, tmp_path):
    """In fp16, of 24 layers of width 1024, the head aside."""
    shapes = {"q_proj": (1024, 1024), "k_proj": (1024, 1024), "v_proj": (1024, 1024)}
    shapes = {f"self_attn.{name}": shape for name, shape in shapes.items()}
    shapes.update({"self_attn.out_proj": (1024, 1024), "fc1": (4096, 1024), "fc2": (1024, 4096)})
    matrices = ticket_matrices(
        {
            f"encoder.sentence_encoder.layers.{layer}.{name}.weight": shape
            for layer in range(24)
            for name, shape in shapes.items()
        }
    )
    ticket = random_columns(matrices, k, 1, Origin("dominant", base="ab" * 32))
    head = {
        name: torch.zeros(shape, dtype=torch.float16)
        for name, shape in zip(HEAD_PARTS, [(1024, 1024), (1024,), (2, 1024), (2,)])
    }
    values = {
        name: torch.zeros(part.values_shape, dtype=torch.float16)
        for name, part in ticket.parts(matrices).items()
    }
    settings = {**dict.fromkeys(SETTINGS, 2), "classification_head_name": "x"}
    settings["regression_target"] = False
    delta = Delta(ticket, values, head, ("a", "b"), settings, torch.float16, torch.float32)
    path = tmp_path / "large.safetensors"
    delta.save(str(path))
    assert path.stat().st_size - 2 * sum(t.numel() for t in head.values()) <= limit
    assert Delta.load(str(path)).ticket.digest() == ticket.digest()
