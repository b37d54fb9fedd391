"""optimizer.mode=compact against masked, by the real command, in every setting that fairseq has."""

from __future__ import annotations

import shutil

import pytest
import torch
from fairseq.criterions.sentence_prediction import SentencePredictionConfig as Criterion

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import load_checkpoint
from fairseq_dwt.delta.verify import moved_outside
from fairseq_dwt.model.names import is_head
from fairseq_dwt.model.roberta import canonical_name
from fairseq_dwt.ticket import load_ticket

SETTINGS = {
    "plain": [],
    "accumulated": ["optimization.update_freq=[2]", "dataset.batch_size=4"],
    "clipped": ["optimization.clip_norm=0.1"],
    "bf16": ["common.bf16=true"],
    "ema": ["ema.store_ema=true", "ema.ema_decay=0.9"],
    "ema fp32": ["common.bf16=true", "ema.store_ema=true", "ema.ema_fp32=true"],
    "checkpoint_activations": ["+model.checkpoint_activations=true"],
    "dropout": ["model.dropout=0.1", "model.attention_dropout=0.1"],
    "decay": ["optimizer.wrapped_optimizer.weight_decay=0.5"],
    "element mask": ["optimizer.ticket=MASK"],
}


def compare(left: str, right: str, tolerance: float, part: str = "model") -> None:
    a, b = (load_checkpoint(f"{folder}/checkpoint_last.pt") for folder in (left, right))
    if part != "model":
        a, b = a["extra_state"], b["extra_state"]
    assert list(a[part]) == list(b[part])
    for name, tensor in a[part].items():
        # a softmax does not see the bias of K: its gradient is rounding noise, which Adam scales
        if (canonical_name(name) or is_head(name)) and not name.endswith("k_proj.bias"):
            torch.testing.assert_close(b[part][name], tensor, atol=tolerance, rtol=0, msg=name)


@pytest.mark.parametrize("setting", SETTINGS)
def test_compact_trains_what_masked_trains(setting, train, ticket, mask, pretrained, tmp_path):
    overrides = [
        f"optimizer.ticket={ticket}",
        "optimizer.k=null",
        *(o.replace("MASK", mask) for o in SETTINGS[setting]),
    ]
    folders = [
        train("ticket_rte", f"optimizer.mode={mode}", *overrides, folder=tmp_path / mode)
        for mode in ("masked", "compact")
    ]
    half = setting in ("bf16", "ema fp32")
    compare(*folders, tolerance=0.02 if half else 1e-5)
    extension = "safetensors" if setting == "element mask" else "json"
    for folder in folders:
        used = load_ticket(f"{folder}/ticket.{extension}")
        checkpoint = f"{folder}/checkpoint_last.pt"
        assert moved_outside(pretrained, checkpoint, used) == []
        if "ema" in setting:
            state = load_checkpoint(checkpoint)
            average = state["extra_state"]["ema"]
            assert any(not torch.equal(average[n], t) for n, t in state["model"].items())
            state["model"] = average
            torch.save(state, tmp_path / "average.pt")
            assert moved_outside(pretrained, str(tmp_path / "average.pt"), used) == []
    if "ema" in setting:
        compare(*folders, tolerance=0.02 if half else 1e-5, part="ema")
    sizes = [sum_of_states(folder) for folder in folders]
    assert sizes[0] == sizes[1]


def sum_of_states(folder: str) -> int:
    state = load_checkpoint(f"{folder}/checkpoint_last.pt")["last_optimizer_state"]
    assert sum(state["trained_entries"]) == sum(
        s["exp_avg"].numel() for s in state["state"].values()
    )
    return sum(state["trained_entries"])


@pytest.mark.parametrize("first, then", [("masked", "compact"), ("compact", "masked")])
@pytest.mark.parametrize("kind", ["columns", "element mask"])
def test_a_run_resumes_in_the_other_mode(first, then, kind, train, ticket, mask, tmp_path):
    source = ticket if kind == "columns" else mask
    overrides = [f"optimizer.ticket={source}", "optimizer.k=null"]
    overrides += ["checkpoint.save_interval_updates=2"]
    whole = train("ticket_rte", f"optimizer.mode={first}", *overrides, folder=tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    shutil.copy(f"{whole}/checkpoint_1_2.pt", tmp_path / "killed" / "checkpoint_last.pt")
    other = train("ticket_rte", f"optimizer.mode={then}", *overrides, folder=tmp_path / "killed")
    compare(whole, other, tolerance=1e-6)


@pytest.mark.parametrize("mode", ["masked", "compact"])
def test_resuming_is_exact(mode, train, ticket, tmp_path):
    """In fp32; tests/half has the others."""
    overrides = [
        f"optimizer.ticket={ticket}",
        f"optimizer.mode={mode}",
        "checkpoint.save_interval_updates=2",
        "model.dropout=0.1",
    ]
    whole = train("ticket_rte", *overrides, folder=tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    shutil.copy(f"{whole}/checkpoint_1_2.pt", tmp_path / "killed" / "checkpoint_last.pt")
    resumed = train("ticket_rte", *overrides, folder=tmp_path / "killed")
    a, b = (load_checkpoint(f"{f}/checkpoint_last.pt") for f in (whole, resumed))
    for name, tensor in a["model"].items():
        if canonical_name(name) or is_head(name):
            assert torch.equal(b["model"][name], tensor), name


def test_the_attention_of_fairseq_gives_the_same_run(train, ticket, tmp_path):
    """Dropout and padding included; stage 1, full fine-tuning and masked stage 2."""
    dropout = ["model.dropout=0.1", "model.attention_dropout=0.1"]
    for name, more in (
        ("full_rte", []),
        ("dwt_rte", []),
        ("ticket_rte", [f"optimizer.ticket={ticket}", "optimizer.mode=masked"]),
    ):
        folders = [
            train(
                name,
                *dropout,
                *more,
                f"task.attention={attention}",
                "optimization.lr=[1e-3]",
                folder=tmp_path / f"{name}_{attention}",
            )
            for attention in ("sdpa", "fairseq")
        ]
        compare(*folders, tolerance=1e-4)


@pytest.mark.parametrize("kind", ["stage 1", "full", "columns", "masked", "oneshot"])
def test_packed_execution_gives_the_run_of_padded_batches(kind, train, ticket, tmp_path):
    name, more = {
        "stage 1": ("dwt_rte", ["task.sigma=1e-3"]),
        "full": ("full_rte", []),
        "columns": ("ticket_rte", [f"optimizer.ticket={ticket}", "optimizer.k=null"]),
        "masked": ("ticket_rte", [f"optimizer.ticket={ticket}", "optimizer.mode=masked"]),
        "oneshot": ("ticket_rte", ["optimizer.ticket=oneshot"]),
    }[kind]
    folders = [
        train(
            name, *more, f"task.attention={attention}", "optimization.lr=[1e-3]",
            folder=tmp_path / attention,
        )
        for attention in ("packed", "sdpa")
    ]  # fmt: skip
    compare(*folders, tolerance=1e-4)
    if kind != "full":
        used = [load_ticket(f"{folder}/ticket.json") for folder in folders]
        assert used[0].top(1).digest() == used[1].top(1).digest()


@pytest.mark.skipif(
    "report_acc_and_f1" not in Criterion.__dataclass_fields__,
    reason="fairseq 0.12.2 reports no F1",
)
def test_a_run_scored_by_fairseq_resumes(train, ticket):
    """Its F1 and accuracy are numbers of numpy, and so is the best one in the checkpoint."""
    scored = ["+criterion.report_acc_and_f1=true", "checkpoint.best_checkpoint_metric=acc_and_f1"]
    given = [f"optimizer.ticket={ticket}", *scored]
    for updates in (4, 8):
        folder = train("ticket_rte", *given, f"optimization.max_update={updates}")
        history = load_checkpoint(f"{folder}/checkpoint_last.pt")["optimizer_history"]
        assert history[-1]["num_updates"] == updates


@pytest.mark.parametrize("name", ["dwt_rte", "full_rte", "ticket_rte", "with layers dropped"])
def test_gradient_checkpointing_changes_no_gradient(name, train, ticket, tmp_path):
    overrides = (
        [f"optimizer.ticket={ticket}"] if name in ("ticket_rte", "with layers dropped") else []
    )
    if name == "with layers dropped":  # the first layer that is left has an input without gradient
        name, overrides = "ticket_rte", [*overrides, "+model.encoder_layerdrop=0.5"]
    folders = [
        train(name, *overrides, f"+model.checkpoint_activations={on}", folder=tmp_path / on)
        for on in ("false", "true")
    ]
    compare(*folders, tolerance=1e-5)


def test_refuses_compact_training_around_its_layers(train, ticket):
    with pytest.raises(DwtError, match="task.attention: fairseq's attention goes around"):
        train("ticket_rte", f"optimizer.ticket={ticket}", "task.attention=fairseq")


def test_refuses_a_ticket_without_the_task_that_cuts_down_to_it(train, ticket):
    with pytest.raises(DwtError, match="expected a model that was cut down to its ticket"):
        train("ticket_rte", f"optimizer.ticket={ticket}", "task._name=ticket_extract")
