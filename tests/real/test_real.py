"""The main job on real input, short: real GLUE, a real pre-trained encoder (DWT_REAL_DIR).

MiniLM, 6 layers of width 384, stands in for RoBERTa-large. The long version, with scores: docs/measured.md.
"""

from __future__ import annotations

import os

import pytest

from fairseq_dwt.checkpoint import Pretrained
from fairseq_dwt.cli import main
from fairseq_dwt.model.names import KINDS
from fairseq_dwt.ticket import Ticket, load_ticket
from tests.real.conftest import PREPROCESS, python


def test_few_weights_move_and_few_columns_dominate_across_layers(stage_1):
    ticket = Ticket.load(str(stage_1 / "ticket.json"))
    pretrained = Pretrained(ticket_init(stage_1))
    assert ticket.origin.base == pretrained.fingerprint
    moved = sum(sum(entry.counts) for entry in ticket.matrices.values())
    size = sum(m.num_parameters for m in pretrained.matrices)
    assert moved / size < 0.01
    top_3 = ticket.top(3).matrices
    for kind in ("V", "FC1"):
        matrices = [m for m in pretrained.matrices if m.kind == kind]
        assert len(matrices) == 6
        dominated = [99 in top_3[m.name].columns for m in matrices if m.name in top_3]
        assert sum(dominated) >= 5, f"column 99 in {kind}: {dominated}"
    # in the output projection and FC2, the bias is often among the first (the paper's Table 4)
    biases = [
        m.in_features in top_3[m.name].columns
        for m in pretrained.matrices
        if m.kind in ("O", "FC2") and m.name in top_3
    ]
    assert sum(biases) >= 4
    assert {m.kind for m in pretrained.matrices} == set(KINDS)


def ticket_init(run) -> str:
    from omegaconf import OmegaConf

    return OmegaConf.load(run / ".hydra" / "config.yaml").checkpoint.finetune_from_model


def test_the_same_ticket_is_extracted_from_the_checkpoint(stand, stage_1, tmp_path):
    path = str(tmp_path / "again.json")
    tuned = str(stage_1 / "checkpoint_last.pt")
    assert main(["extract", "--init", stand.init, "--tuned", tuned, "-o", path]) == 0
    assert Ticket.load(path).matrices == Ticket.load(str(stage_1 / "ticket.json")).matrices


@pytest.mark.parametrize("precision", ["common.bf16=false", "common.bf16=true"])
def test_stage_2_moves_the_ticket_alone(precision, stand, stage_1, tmp_path):
    python(
        "-m", "fairseq_cli.hydra_train", "--config-name", "ticket_mrpc", "task.data=data-bin/MRPC",
        f"checkpoint.finetune_from_model={stand.init}", "optimization.max_update=10",
        "lr_scheduler.warmup_updates=1", "optimization.lr=[1e-3]", f"hydra.run.dir={tmp_path}",
        "optimizer.ticket=dwt/ticket.json", precision, cwd=stand.folder,
    )  # fmt: skip
    verify = ["verify", "--init", stand.init, "--tuned", str(tmp_path / "checkpoint_best.pt")]
    assert main([*verify, "--ticket", str(tmp_path / "ticket.json")]) == 0
    used = load_ticket(str(tmp_path / "ticket.json"))
    assert used.digest() == Ticket.load(str(stage_1 / "ticket.json")).top(1).digest()
    assert 0.0005 < used.sparsity < 0.002


def test_real_glue_with_gpt2_bpe(real_dir, tmp_path):
    output = python(
        PREPROCESS, "--glue-dir", os.path.join(real_dir, "glue"), "--task", "all", "--bpe-dir",
        os.path.join(real_dir, "bpe"), "--out", str(tmp_path), cwd=str(tmp_path),
    )  # fmt: skip
    for line in (
        "CoLA train: 8551 sentences",
        "SST-2 train: 67349 sentences",
        "MRPC train: 3668 sentence pairs",
        "QNLI train: 9999 sentence pairs",
        "MNLI train: 9999 sentence pairs",
        "QQP train: 23497 sentence pairs",
    ):
        assert line in output
    assert not any(name.startswith(".") for name in os.listdir(tmp_path))
