"""Reasons beside a ticket: each ranks columns, and is compared in the matrices of which it speaks."""

from __future__ import annotations

import json
import os

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.cli import main
from fairseq_dwt.find.controls import largest_weights
from fairseq_dwt.find.explain import norm_before, overlaps
from fairseq_dwt.ticket import Columns, Origin, Ticket

SHAPE = (4, 8)


def test_the_norm_whose_output_a_matrix_reads(pretrained):
    by_name = {m.name: norm_before(pretrained, m) for m in pretrained.matrices}
    begin = "encoder.sentence_encoder."
    assert by_name["layers.0.self_attn.q_proj"] == f"{begin}layernorm_embedding"
    assert by_name["layers.1.self_attn.v_proj"] == f"{begin}layers.0.final_layer_norm"
    assert by_name["layers.1.fc1"] == f"{begin}layers.1.self_attn_layer_norm"
    assert by_name["layers.1.fc2"] is None and by_name["layers.0.self_attn.out_proj"] is None


def test_a_reason_is_compared_at_the_tickets_own_number_of_columns():
    q, o = "layers.0.self_attn.q_proj", "layers.0.self_attn.out_proj"
    ticket = Ticket({q: Columns(SHAPE, (5, 2, 8)), o: Columns(SHAPE, (1,))}, Origin("dominant"))
    scores = torch.zeros(9, dtype=torch.float64)
    scores[[5, 2, 3]] = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    found = overlaps({"a": {q: scores}, "b": {q: scores, o: scores}}, ticket, 3)
    assert found["a"].matrices == {q: pytest.approx(2 / 4)}
    assert found["b"].matrices == {q: pytest.approx(2 / 4), o: 0.0}
    with pytest.raises(DwtError, match="explain: expected a ticket with columns in the matrices"):
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

    def command(*more, ticket=None):
        monkeypatch.chdir(small.folder)
        settings = ["task.data=data-bin/RTE", "checkpoint.finetune_from_model=model.pt"]
        settings += ["task.num_classes=2", "dataset.batch_size=8", "common.cpu=true"]
        given = ["--config-name", "ticket_rte", *settings, "-o", str(tmp_path / "why")]
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


def test_another_models_ticket_and_no_batches_write_nothing(explain, tmp_path):
    code, said, data = explain(ticket="roberta.large/mnli")
    assert code == 2 and "another model" in said.err and data is None
    code, said, data = explain("--batches", "0")
    assert code == 2 and "--batches: expected one or more, got 0" in said.err and data is None
    assert not (tmp_path / "why").exists()
