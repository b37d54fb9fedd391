"""Reasons beside a ticket: each ranks columns, and is compared in the matrices of which it speaks."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.cli import main
from fairseq_dwt.find.controls import largest_weights
from fairseq_dwt.find.explain import moved_by, norms_before, overlaps
from fairseq_dwt.model.anatomy import anatomy_of
from fairseq_dwt.model.encoder import use_sdpa
from fairseq_dwt.model.names import kind_of
from fairseq_dwt.model.packed import use_packed
from fairseq_dwt.model.through_modules import use_modules
from fairseq_dwt.ticket import Columns, Origin, Ticket
from tests.conftest import WORDS, roberta
from tests.translation import layers_of, translation

SHAPE = (4, 8)


@pytest.mark.parametrize("before", [False, True])
def test_the_norm_whose_output_a_matrix_reads(before):
    """Found by looking, in stacks of norms after and before; O and FC2 read others."""
    model = translation(encoder_normalize_before=before, decoder_normalize_before=before).eval()
    use_modules(model)
    names = {module: name for name, module in model.named_modules()}
    source = torch.tensor([[1, 5, 6, 7], [8, 9, 10, 11]])
    target = torch.tensor([[2, 13, 14], [2, 15, 1]])
    norms = norms_before(
        model, layers_of(model), lambda: model(source, torch.tensor([3, 4]), target)
    )
    found = {matrix: names[norm] for matrix, norm in norms.items()}
    of_encoder = "encoder.layer_norm" if before else "encoder.layers.1.final_layer_norm"
    here, below = ("layers.1", "self_attn") if before else ("layers.0", "final")
    expected = {
        "encoder.layers.1.self_attn.q_proj": f"encoder.{here}.{below}_layer_norm",
        "decoder.layers.1.self_attn.v_proj": f"decoder.{here}.{below}_layer_norm",
        "decoder.layers.0.encoder_attn.k_proj": of_encoder,
        "decoder.layers.1.encoder_attn.v_proj": of_encoder,
        "encoder.layers.0.fc1": f"encoder.layers.0.{'final' if before else 'self_attn'}_layer_norm",
        "decoder.layers.0.fc1": "decoder.layers.0."
        + ("final_layer_norm" if before else "encoder_attn_layer_norm"),
        "decoder.layers.0.encoder_attn.q_proj": "decoder.layers.0."
        + ("encoder_attn_layer_norm" if before else "self_attn_layer_norm"),
    }
    assert {name: found[name] for name in expected} == expected
    assert not {kind_of(name) for name in found} & {"O", "XO", "FC2"}
    # nothing is normalized before the first layer of a stack of norms after
    assert ("encoder.layers.0.self_attn.q_proj" in found) == before


@pytest.mark.parametrize("lay_out", [use_sdpa, use_packed])
def test_padding_set_to_zero_since_hides_no_norm(lay_out):
    model = roberta(WORDS).eval()
    lay_out(model)
    tokens = torch.tensor([[0, 5, 6, 2], [0, 7, 2, 1]])
    layers = anatomy_of(model).layers
    norms = norms_before(model, layers, lambda: model(tokens, features_only=True))
    encoder = model.encoder.sentence_encoder
    assert norms["layers.0.self_attn.q_proj"] is encoder.layernorm_embedding
    assert norms["layers.1.self_attn.k_proj"] is encoder.layers[0].final_layer_norm
    assert norms["layers.1.fc1"] is encoder.layers[1].self_attn_layer_norm


def test_a_reason_is_compared_at_the_tickets_own_number_of_columns():
    q, o = "layers.0.self_attn.q_proj", "layers.0.self_attn.out_proj"
    ticket = Ticket({q: Columns(SHAPE, (5, 2, 8)), o: Columns(SHAPE, (1,))}, Origin("dominant"))
    scores = torch.zeros(9, dtype=torch.float64)
    scores[[5, 2, 3]] = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    found = overlaps({"a": {q: scores}, "b": {q: scores, o: scores}}, ticket, 3)
    assert found["a"].matrices == {q: pytest.approx(2 / 4)}
    assert found["b"].matrices == {q: pytest.approx(2 / 4), o: 0.0}
    assert set(overlaps({"a": {q: scores}, "none": {"layers.9.fc1": scores}}, ticket, 3)) == {"a"}
    with pytest.raises(DwtError, match="expected a ticket with columns in the model's matrices"):
        overlaps({"a": {"layers.9.fc1": scores}}, ticket, 1)


def test_the_largest_weights(pretrained):
    ticket = largest_weights(pretrained.matrices, 2, pretrained.tensors, Origin("weight_norm"))
    matrix = pretrained.matrices[0]
    norms = [float(column.norm()) for column in pretrained.tensors[matrix.weight].double().t()]
    norms.append(float(pretrained.tensors[matrix.bias].double().norm()))
    best = sorted(range(len(norms)), key=lambda i: -norms[i])[:2]
    assert ticket.matrices[matrix.name].columns == tuple(best)


@pytest.fixture
def explain(small, one_of_each, tmp_path, monkeypatch, capsys):
    """``fairseq-dwt explain`` of the tiny RoBERTa: its exit code, what it said, its JSON."""

    def command(*more, ticket=None, settings=()):
        monkeypatch.chdir(small.folder)
        given = ["task.data=data-bin/RTE", "checkpoint.finetune_from_model=model.pt", *settings]
        given += ["task.num_classes=2", "dataset.batch_size=8", "common.cpu=true"]
        given = ["--config-name", "ticket_rte", *given, "-o", str(tmp_path / "why")]
        ticket = ticket or str(one_of_each / "ticket.json")
        code = main(["explain", *given, "--ticket", ticket, "--batches", "2", *more])
        said = capsys.readouterr()
        path = tmp_path / "why" / "report.json"
        return code, said, json.loads(path.read_text()) if path.is_file() else None

    return command


def test_the_command_writes_a_page_with_every_reason(explain, one_of_each, tmp_path):
    code, said, data = explain("--tuned", str(one_of_each / "tuned.pt"))
    assert code == 0, said.err
    reasons = {
        "norm's γ", "norm's β", "inputs, tokens", "inputs, means of rows", "inputs, <s>",
        "means and <s> (forward)", "weights", "gradient (one-shot)", "moved by L1",
    }  # fmt: skip
    assert set(data["reasons"]) == set(data["overlaps"]["3"]) == reasons
    # what was moved was the ticket, so that this reason names it whole
    assert data["overlaps"]["3"]["moved by L1"]["per_matrix"] == 1
    page = (tmp_path / "why" / "index.html").read_text()
    assert "layer 1 FC2" in page and os.listdir(tmp_path / "why" / "figures")
    assert "moved by L1" in said.out


def test_a_runs_checkpoint_says_all_that_a_config_does(
    explain, train, small, tmp_path, monkeypatch, capsys
):
    run = train("dwt_rte", "dataset.batch_size=8")
    given = ["--ticket", f"{run}/ticket.json", "--tuned", f"{run}/checkpoint_last.pt"]
    monkeypatch.chdir(small.folder)
    code = main(["explain", *given, "--batches", "2", "-o", str(tmp_path / "of_run")])
    assert code == 0, capsys.readouterr().err
    of_run = json.loads((tmp_path / "of_run" / "report.json").read_text())
    without_dropout = ["model.dropout=0", "model.attention_dropout=0", "model.pooler_dropout=0"]
    code, said, by_config = explain("--tuned", given[3], ticket=given[1], settings=without_dropout)
    assert code == 0, said.err
    for reason, by_matrix in of_run["reasons"].items():
        for name, values in by_matrix.items():
            assert values == pytest.approx(by_config["reasons"][reason][name], 1e-4, 1e-6), reason
    assert main(["explain", *given[:2], "-o", str(tmp_path / "x")]) == 2
    assert "expected --config-name, of a GLUE task, or --tuned" in capsys.readouterr().err
    assert main(["explain", *given, "-o", str(tmp_path / "x"), "task.data"]) == 2
    assert "task.data: expected section.name=value" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_run_on_a_file_without_a_language_model_head(train, small, tmp_path, capsys):
    """As import-hf writes them; the run's checkpoint names fairseq's own task."""
    state = torch.load(small.init, weights_only=False)
    state["model"] = {n: t for n, t in state["model"].items() if "lm_head" not in n}
    init, ticket = str(tmp_path / "headless.pt"), str(tmp_path / "t.json")
    torch.save(state, init)
    run = train("full_rte", f"checkpoint.finetune_from_model={init}")
    assert main(["random", "--init", init, "-k", "1", "-o", ticket]) == 0
    tuned = f"{run}/checkpoint_last.pt"
    other = ["explain", "--tuned", small.init, "--ticket", ticket, "-o", str(tmp_path / "why")]
    assert main(other) == 2
    assert "expected the checkpoint of a training run" in capsys.readouterr().err
    assert not (tmp_path / "why").exists()
    other[2] = tuned
    assert main([*other, "--batches", "1"]) == 0, capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_no_tuned_one(pretrained, tmp_path):
    other = SimpleNamespace(path="other.pt", dtype=torch.float32, theta=dict(pretrained.tensors))
    name = pretrained.matrices[0].weight
    other.theta[name] = other.theta[name][:1]
    with pytest.raises(DwtError, match=f"other.pt: {name}: expected .* of another model"):
        moved_by(pretrained, other)
    del other.theta[name]
    with pytest.raises(DwtError, match="other.pt: expected tensor .*, found none"):
        moved_by(pretrained, other)


def test_another_models_ticket_and_no_batches_write_nothing(explain, tmp_path):
    code, said, data = explain(ticket="roberta.large/mnli")
    assert code == 2 and "another model" in said.err and data is None
    code, said, data = explain("--batches", "0")
    assert code == 2 and "--batches: expected one or more, got 0" in said.err and data is None
    assert not (tmp_path / "why").exists()
