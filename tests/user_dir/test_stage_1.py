"""Stage 1 by its real command: what λ does, and what the ticket holds."""

from __future__ import annotations

import json
import logging
import os
import shutil

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import Pretrained, load_checkpoint
from fairseq_dwt.model.names import is_head
from fairseq_dwt.model.roberta import canonical_name
from fairseq_dwt.ticket import ElementMask, Ticket
from tests.conftest import weights, write_roberta

SGD = [
    # plain gradient steps, so that a weight's move is lr · gradient
    "optimizer._name=sgd",
    "~optimizer.adam_betas",
    "~optimizer.adam_eps",
    "+optimizer.lr=[0.5]",
    "+optimizer.momentum=0",
]


def updates(folder, steps=("checkpoint_1_1.pt", "checkpoint_1_2.pt")):
    return [weights(f"{folder}/{name}") for name in steps]


def test_lambda_0_is_the_wrapped_criterion(train, tmp_path):
    with_l1 = train("dwt_rte", "criterion.l1_lambda=0", folder=tmp_path / "a")
    without = train(
        "dwt_rte",
        "criterion._name=sentence_prediction",
        "~criterion.l1_lambda",
        "~criterion.wrapped_criterion",
        folder=tmp_path / "b",
    )
    ours, theirs = (weights(f"{f}/checkpoint_last.pt") for f in (with_l1, without))
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


@pytest.mark.parametrize(
    "batch", [["dataset.batch_size=8"], ["dataset.batch_size=4", "optimization.update_freq=[2]"]]
)
def test_the_penalty_adds_lambda_times_sign_to_the_gradient(batch, train, small, tmp_path):
    """From the same weights, one SGD step with λ and one without differ by lr · λ · sign(θ − θ0)."""
    lr, l1_lambda = 0.5, 0.01
    common = [*SGD, *batch, f"optimization.lr=[{lr}]", "checkpoint.save_interval_updates=1"]
    common += [
        "lr_scheduler._name=fixed",
        "~lr_scheduler.total_num_update",
        "~lr_scheduler.warmup_updates",
    ]
    with_l1 = train("dwt_rte", *common, f"criterion.l1_lambda={l1_lambda}", folder=tmp_path / "a")
    without = train("dwt_rte", *common, "criterion.l1_lambda=0", folder=tmp_path / "b")
    first, second = updates(with_l1)
    first_0, second_0 = updates(without)
    init = Pretrained(small.init).tensors
    moved = 0
    for name in init:
        if ".layers." not in name:
            assert torch.equal(second[name], init[name].float()), f"{name} is frozen in stage 1"
            continue
        # at update 0, θ = θ0 and sign(0) = 0: the first step is the same
        assert torch.equal(first[name], first_0[name]), name
        sign = torch.sign(first[name] - init[name].float())
        torch.testing.assert_close(
            second_0[name] - second[name], lr * l1_lambda * sign, rtol=1e-3, atol=1e-6
        )
        moved += int((sign != 0).sum())
    assert moved > 1000
    head = [n for n in first if "classification_heads" in n]
    for name in head:
        torch.testing.assert_close(second[name], second_0[name], rtol=0, atol=0)


def test_large_lambda_holds_weights_and_the_ticket_says_where_they_moved(train, small):
    folder = train("dwt_rte", "task.sigma=2e-3", "task.save_sigma_mask=true")
    ticket = Ticket.load(f"{folder}/ticket.json")
    assert ticket.origin.method == "dominant"
    assert ticket.origin.sigma == 2e-3
    assert ticket.origin.l1_lambda == 1e-3
    assert ticket.origin.task == "RTE"
    assert ticket.origin.num_updates == 6
    pretrained = Pretrained(small.init)
    assert ticket.origin.base == pretrained.fingerprint
    tuned = weights(f"{folder}/checkpoint_last.pt")
    mask = ElementMask.load(f"{folder}/sigma_mask.safetensors")
    for matrix in pretrained.matrices:
        # Algorithm 1, read naively
        delta = torch.cat(
            [
                tuned[matrix.weight] - pretrained.tensors[matrix.weight].float(),
                (tuned[matrix.bias] - pretrained.tensors[matrix.bias].float())[:, None],
            ],
            dim=1,
        )
        counts = [sum(abs(float(x)) > 2e-3 for x in column) for column in delta.T]
        order = sorted(range(len(counts)), key=lambda j: (-counts[j], j))
        expected = tuple(j for j in order if counts[j] > 0)[:32]
        assert ticket.matrices[matrix.name].columns == expected
        assert ticket.matrices[matrix.name].counts == tuple(counts[j] for j in expected)
        assert torch.equal(mask.masks[matrix.name], delta.abs() > 2e-3)


def test_validation_logs_the_wrapped_loss_and_l1_beside_it(train, caplog):
    caplog.set_level(logging.INFO)
    train("dwt_rte", "common.log_format=json", "criterion.l1_lambda=1000")
    valid = next(json.loads(r.message) for r in caplog.records if r.name == "valid")
    # λ‖Δ‖₁ would be thousands; the loss of two classes is not
    assert float(valid["valid_loss"]) < 20
    assert float(valid["valid_l1"]) > 1


def test_a_ticket_is_written_without_any_validation_too(train):
    folder = train("dwt_rte", "dataset.disable_validation=true")
    assert Ticket.load(f"{folder}/ticket.json").origin.num_updates == 6


def test_a_model_that_is_not_theta_0_at_the_start_is_refused(train, small, tmp_path):
    write_roberta(str(tmp_path / "other.pt"), small.data, seed=5)
    with pytest.raises(DwtError, match=r"embed_tokens.weight: expected the values of .*model.pt"):
        train(
            "dwt_rte",
            "checkpoint.finetune_from_model=null",
            f"checkpoint.restore_file={tmp_path / 'other.pt'}",
            f"+criterion.init={small.init}",
            "checkpoint.reset_optimizer=true",
            "checkpoint.reset_dataloader=true",
            "checkpoint.reset_meters=true",
        )


def test_theta_0_after_a_resume_is_the_files(train, small, tmp_path):
    """With λ so large that θ is pinned to θ0, a resumed run still pulls toward the file's θ0."""
    folder = train("dwt_rte", "optimization.max_update=3")
    os.unlink(f"{folder}/run.json")  # which would refuse another λ
    again = train("dwt_rte", "optimization.max_update=40", "criterion.l1_lambda=0.3", folder=folder)
    state = load_checkpoint(f"{again}/checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 40
    init = Pretrained(small.init).tensors
    far = [(state["model"][n] - t.float()).abs().mean() for n, t in init.items() if ".layers." in n]
    assert torch.stack(far).mean() < 5e-3


def test_negative_lambda_is_refused(train):
    with pytest.raises(DwtError, match="criterion.l1_lambda: expected a number ≥ 0, got -1"):
        train("dwt_rte", "criterion.l1_lambda=-1")


@pytest.mark.parametrize("setting", ["sigma=0", "sigma=nan", "ranked_columns=-1"])
def test_what_would_end_in_no_ticket_is_refused_before_training(setting, train, tmp_path):
    name, _, value = setting.partition("=")
    with pytest.raises(DwtError, match=f"task.{name}: expected .*, got {value}"):
        train("dwt_rte", f"task.{setting}")
    assert os.listdir(tmp_path / "run") == []


def test_scores_of_glue_are_in_the_validation(train, caplog):
    caplog.set_level(logging.INFO)
    train("full_rte", "common.log_format=json", "task.metrics='mcc,f1'")
    valid = next(json.loads(r.message) for r in caplog.records if r.name == "valid")
    assert {"valid_mcc", "valid_f1", "valid_accuracy"} <= set(valid)


def test_a_run_resumed_in_mid_epoch_ends_where_an_uninterrupted_one_does(train, tmp_path):
    overrides = ["checkpoint.save_interval_updates=2", "model.dropout=0.1", "task.sigma=1e-3"]
    whole = train("dwt_rte", *overrides, folder=tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    shutil.copy(f"{whole}/checkpoint_1_2.pt", tmp_path / "killed" / "checkpoint_last.pt")
    resumed = train("dwt_rte", *overrides, folder=tmp_path / "killed")
    a, b = (load_checkpoint(f"{f}/checkpoint_last.pt") for f in (whole, resumed))
    assert a["optimizer_history"][-1]["num_updates"] == 6
    for key, tensor in a["model"].items():
        # fairseq 0.12.2's second copy of the weights is made at every load, not trained
        if canonical_name(key) or is_head(key):
            assert torch.equal(b["model"][key], tensor), key
    with open(f"{whole}/ticket.json") as left, open(f"{resumed}/ticket.json") as right:
        assert left.read() == right.read()
