"""Whole runs in half precision: the ticket of fp32, exact resumption, overflow, workers' arithmetic."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch

from fairseq_dwt.checkpoint import Pretrained, Tuned, load_checkpoint
from fairseq_dwt.delta.verify import moved_outside
from fairseq_dwt.find.dominant import Movement
from fairseq_dwt.model.names import is_head
from fairseq_dwt.model.roberta import canonical_name
from fairseq_dwt.ticket import load_ticket
from fairseq_dwt.train.halves import KEY
from tests.half.conftest import PRECISIONS, copies

#: Steps smaller than the rounding of a weight: only fp32 copies can sum them up.
SMALL_STEPS = ["optimization.lr=[1e-4]", "model.dropout=0.1", "task.sigma=1e-4"]

RUNS = {
    "stage 1": ("dwt_rte", []),
    "full": ("full_rte", ["~task.sigma"]),
    "columns": ("ticket_rte", ["optimizer.ticket=TICKET", "optimizer.k=null", "~task.sigma"]),
    "masked": ("ticket_rte", ["optimizer.ticket=TICKET", "optimizer.mode=masked", "~task.sigma"]),
    "elements": ("ticket_rte", ["optimizer.ticket=MASK", "optimizer.k=null", "~task.sigma"]),
    "oneshot": ("ticket_rte", ["optimizer.ticket=oneshot", "~task.sigma"]),
    "bitfit": ("bitfit_rte", ["~task.sigma"]),
    "slice": (
        "ticket_rte",
        ["optimizer.ticket=slice", "optimizer.move_every=2", "~task.sigma"],
    ),
}


def overrides(kind: str, half, ticket, mask):
    name, own = RUNS[kind]
    own = [o.replace("TICKET", ticket).replace("MASK", mask) for o in own]
    settings = [o for o in SMALL_STEPS if f"~{o.partition('=')[0]}" not in own]
    return [name, *settings, *half, *(o for o in own if not o.startswith("~"))]


@pytest.mark.parametrize("kind", RUNS)
def test_resuming_is_exact(kind, half, train, ticket, mask, tmp_path):
    more = ["checkpoint.save_interval_updates=2", "optimization.update_freq=[2]"]
    # the loss scale grows every second update: its counters must be resumed too
    more += ["optimization.clip_norm=0.5", "common.fp16_scale_window=2", "dataset.batch_size=4"]
    settings = overrides(kind, half, ticket, mask) + more
    whole = train(*settings, folder=tmp_path / "whole")
    killed = tmp_path / "killed"
    killed.mkdir()
    shutil.copy(f"{whole}/checkpoint_1_2.pt", killed / "checkpoint_last.pt")
    if kind == "oneshot":
        shutil.copy(f"{whole}/oneshot.json", killed)
    resumed = train(*settings, folder=killed)
    a, b = (load_checkpoint(f"{f}/checkpoint_last.pt") for f in (whole, resumed))
    for name, tensor in a["model"].items():
        if canonical_name(name) or is_head(name):
            assert torch.equal(b["model"][name], tensor), name
    assert torch.equal(
        copies(f"{whole}/checkpoint_last.pt"), copies(f"{resumed}/checkpoint_last.pt")
    )
    assert a["task_state"][KEY]["loss_scaler"] == b["task_state"][KEY]["loss_scaler"]
    with open(f"{whole}/ticket.json" if kind == "stage 1" else os.devnull) as file:
        written = file.read()
    if written:
        with open(f"{resumed}/ticket.json") as file:
            assert json.loads(file.read()) == json.loads(written)


def test_an_average_of_the_weights_resumes_exactly(half, train, ticket, mask, tmp_path):
    settings = overrides("stage 1", half, ticket, mask)
    settings += ["ema.store_ema=true", "ema.ema_decay=0.9", "ema.ema_fp32=true"]
    settings += ["checkpoint.save_interval_updates=2"]
    whole = train(*settings, folder=tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    shutil.copy(f"{whole}/checkpoint_1_2.pt", tmp_path / "killed" / "checkpoint_last.pt")
    resumed = train(*settings, folder=tmp_path / "killed")
    a, b = (load_checkpoint(f"{f}/checkpoint_last.pt")["extra_state"] for f in (whole, resumed))
    for name, tensor in a["ema_fp32_params"].items():
        # fairseq 0.12.2 keeps second copies of a layer's weights, which a resumed run fills anew
        if canonical_name(name) or is_head(name):
            assert torch.equal(b["ema_fp32_params"][name], tensor), name


def test_stage_1_finds_the_ticket_of_fp32(half, train, tmp_path):
    """As fp32 counts it, on a model of which a rounding moves most weights by more than σ."""
    settings = ["dwt_rte", "optimization.lr=[1e-4]", "task.sigma=1e-5", "task.save_sigma_mask=true"]
    masks = []
    for name, more in (("fp32", []), ("half", half)):
        folder = train(*settings, *more, folder=tmp_path / name)
        mask = load_ticket(f"{folder}/sigma_mask.safetensors")
        masks.append(torch.cat([mask.masks[m].reshape(-1) for m in sorted(mask.masks)]))
    exact, counted = masks
    either = (exact | counted).sum()
    assert 0 < exact.sum() < len(exact)
    # of a model this small a gradient is a sum of few products, which bf16 rounds to 1 in 256
    assert (exact & counted).sum() / either > (0.8 if half == PRECISIONS["bf16"] else 0.9)


def test_extract_counts_what_the_run_counted(half, train, small, tmp_path):
    folder = train("dwt_rte", *half, *SMALL_STEPS, folder=tmp_path / "run")
    written = load_ticket(f"{folder}/ticket.json")
    pretrained, tuned = Pretrained(small.init), Tuned(f"{folder}/checkpoint_last.pt")
    assert not tuned.counts_rounded
    found = Movement.between(pretrained, tuned, 1e-4).ticket(written.origin)
    assert found.matrices == written.matrices != {}
    # the rounded weights give others
    sigmas = (2e-5, 5e-5, 1e-4)
    exact = [Movement.between(pretrained, tuned, sigma).counts for sigma in sigmas]
    tuned.theta = tuned.tensors
    assert exact != [Movement.between(pretrained, tuned, sigma).counts for sigma in sigmas]


def test_a_checkpoint_without_copies_is_said_to_be_rounded(train, small, tmp_path, capsys):
    from fairseq_dwt.cli import main

    folder = train("dwt_rte", *PRECISIONS["bf16"], *SMALL_STEPS)
    state = load_checkpoint(f"{folder}/checkpoint_last.pt")
    del state["task_state"][KEY]
    foreign = str(tmp_path / "foreign.pt")
    torch.save(state, foreign)
    for command in (["extract"], ["bottom", "-k", "1"]):
        out = str(tmp_path / "ticket.json")
        assert main([*command, "--init", small.init, "--tuned", foreign, "-o", out]) == 0
        assert "the rounded weights were counted" in capsys.readouterr().err
        kept = f"{folder}/checkpoint_last.pt"
        assert main([*command, "--init", small.init, "--tuned", kept, "-o", out]) == 0
        assert capsys.readouterr().err == ""


def test_a_checkpoint_of_before_resumes_with_a_word(half, train, tmp_path, caplog):
    settings = ["dwt_rte", *half, *SMALL_STEPS, "checkpoint.save_interval_updates=2"]
    whole = train(*settings, folder=tmp_path / "whole")
    state = load_checkpoint(f"{whole}/checkpoint_1_2.pt")
    del state["task_state"][KEY]
    (tmp_path / "old").mkdir()
    torch.save(state, tmp_path / "old" / "checkpoint_last.pt")
    resumed = train(*settings, folder=tmp_path / "old")
    assert "keeps no fp32 copies of the weights" in caplog.text
    state = load_checkpoint(f"{resumed}/checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 6


@pytest.mark.parametrize("kind", ["stage 1", "full", "columns"])
def test_an_overflow_is_skipped_and_counts_nowhere(kind, train, ticket, mask, tmp_path, caplog):
    caplog.set_level("INFO")
    settings = overrides(kind, PRECISIONS["fp16"], ticket, mask)
    # of 2³⁰ times the loss a gradient overflows, some halvings later none does
    folder = train(*settings, f"common.fp16_init_scale={2**30}", "optimization.max_update=2")
    skipped = sum("gradient overflow detected" in r.getMessage() for r in caplog.records)
    assert skipped > 2
    state = load_checkpoint(f"{folder}/checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 2
    assert copies(f"{folder}/checkpoint_last.pt").isfinite().all()
    if kind == "stage 1":
        counted = [r.getMessage() for r in caplog.records if "|θ − θ0| >" in r.getMessage()]
        assert [message.partition(":")[0] for message in counted] == ["update 2"]
        assert load_ticket(f"{folder}/ticket.json").origin.num_updates == 2


@pytest.mark.parametrize("kind", ["columns", "masked", "elements", "oneshot", "bitfit"])
def test_nothing_outside_a_ticket_moves(kind, half, train, ticket, mask, small, tmp_path):
    settings = overrides(kind, half, ticket, mask)
    decay = ["optimizer.wrapped_optimizer.weight_decay=0.5", "optimization.clip_norm=0.5"]
    folder = train(*settings, *decay, "optimization.lr=[0.01]")
    extension = "safetensors" if kind == "elements" else "json"
    used = load_ticket(f"{folder}/ticket.{extension}")
    checkpoint = f"{folder}/checkpoint_last.pt"
    assert moved_outside(Pretrained(small.init), checkpoint, used) == []
    assert not torch.equal(
        Tuned(checkpoint).tensors["encoder.sentence_encoder.layers.0.fc1.bias"],
        Pretrained(small.init).tensors["encoder.sentence_encoder.layers.0.fc1.bias"],
    ) or kind in ("columns", "masked", "elements", "oneshot")


def test_oneshot_finds_the_file_of_fp32(half, train, tmp_path):
    files = []
    for name, more in (("fp32", []), ("half", half)):
        folder = train("ticket_rte", "optimizer.ticket=oneshot", *more, folder=tmp_path / name)
        with open(f"{folder}/oneshot.json") as file:
            files.append(file.read())
    assert files[0] == files[1]


@pytest.mark.parametrize("kind", ["columns", "elements"])
def test_compact_trains_what_masked_trains(kind, half, train, ticket, mask, tmp_path):
    settings = [*overrides(kind, half, ticket, mask), "model.dropout=0"]
    one, other = (
        copies(
            f"{train(*settings, f'optimizer.mode={mode}', folder=tmp_path / mode)}/checkpoint_last.pt"
        )
        for mode in ("masked", "compact")
    )
    # every entry moved by about 4e-4; where a gradient is rounding noise Adam scales the noise
    assert ((one - other).abs() < 5e-5).float().mean() > 0.9


def test_export_and_apply_give_the_checkpoint_back(half, train, ticket, small, tmp_path):
    from fairseq_dwt.cli import main

    folder = train("ticket_rte", f"optimizer.ticket={ticket}", "optimizer.k=null", *half)
    tuned, delta = f"{folder}/checkpoint_last.pt", str(tmp_path / "a.delta.safetensors")
    merged = str(tmp_path / "merged.pt")
    assert main(["export", "--init", small.init, "--tuned", tuned, "-o", delta]) == 0
    assert main(["apply", "--init", small.init, "--delta", delta, "-o", merged]) == 0
    before, after = load_checkpoint(tuned)["model"], load_checkpoint(merged)["model"]
    assert [name for name in after if not torch.equal(after[name], before[name])] == []
