"""``ticket.*`` on top of our own configs of full fine-tuning, where the two kinds of runs meet."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.patches import load_checkpoint as patch
from fairseq_dwt.run.config import users_folder
from fairseq_dwt.run.progress import TimeLeft
from fairseq_dwt.ticket import Ticket
from tests.conftest import weights
from tests.processes import python


@pytest.mark.parametrize("word", ["forward", "oneshot"])
def test_the_first_batches_give_the_same_ticket_either_way(word, train, tmp_path, monkeypatch):
    """Also below a classification head, and without the run's clock knowing of the look."""
    seen = []
    stock = TimeLeft.step
    monkeypatch.setattr(TimeLeft, "step", lambda self, n: (seen.append(n), stock(self, n)))
    given = ["+ticket.k=2", "common.seed=3"]
    one = train("full_rte", f"+ticket.file={word}", *given, folder=tmp_path / "recipe")
    assert seen == list(range(6))
    other = train(
        "ticket_rte", f"optimizer.ticket={word}", "optimizer.k=2", "common.seed=3",
        folder=tmp_path / "task",
    )  # fmt: skip
    columns = [
        {name: entry.columns for name, entry in Ticket.load(f"{f}/ticket.json").matrices.items()}
        for f in (one, other)
    ]
    assert columns[0] == columns[1]


def test_a_head_of_another_task_trains_on(train, tmp_path):
    before = f"{train('full_rte', folder=tmp_path / 'before')}/checkpoint_last.pt"
    start = f"checkpoint.finetune_from_model={before}"
    for name, settings in (
        ("1", ["+ticket.l1_lambda=0.001"]),
        ("2", ["+ticket.file=random", "+ticket.k=1"]),
    ):
        folder = train("full_rte", start, *settings, folder=tmp_path / name)
        then, now = weights(before), weights(f"{folder}/checkpoint_last.pt")
        heads = [n for n in then if "classification_heads" in n]
        assert heads and not any(torch.equal(then[n], now[n]) for n in heads)


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("ticket_rte", ["optimizer.ticket=bitfit", "+ticket.file=random"], "got optimizer dominant_ticket"),
        ("dwt_rte", ["+ticket.l1_lambda=0.001"], "got criterion l1_to_init"),
        ("full_rte", ["+ticket.file=bitfit", "+ticket.percent=5"], "percent: expected none with"),
        ("full_rte", ["+ticket.file=bitfit", "+ticket.step=subgradient"], "step: expected none in"),
        ("full_rte", ["+ticket.l1_lambda=1", "+ticket.k=3"], "k: expected none in stage 1, got 3"),
        ("ticket_rte", ["optimizer.ticket=oneshot", "+optimizer.like=x"], "like: expected none with"),
    ],
)  # fmt: skip
def test_refused(name, settings, told, train):
    with pytest.raises(DwtError, match=told):
        train(name, *settings)


@pytest.mark.parametrize("name", ["full_rte", "dwt_rte", "ticket_rte"])
@pytest.mark.parametrize("metric", ["f1", "accuracy_"])
def test_a_score_that_no_validation_has_is_refused_before_the_first_update(
    name, metric, train, monkeypatch
):
    monkeypatch.setattr(TimeLeft, "step", lambda self, n: pytest.fail("trained"))
    more = ["optimizer.ticket=random"] if name == "ticket_rte" else []
    l1 = "l1, " if name == "dwt_rte" else ""
    with pytest.raises(
        DwtError, match=f"expected one of accuracy, {l1}loss, nll_loss, got {metric};"
    ):
        train(name, *more, f"checkpoint.best_checkpoint_metric={metric}")


def test_the_whole_model_is_not_kept_for_an_average_that_nobody_asked_for(monkeypatch):
    loaded = ({"ema": "as large as the model", "best": 1.0}, "iterator")
    monkeypatch.setattr(patch, "_stock_load_checkpoint", lambda *args: loaded)
    assert patch.load_checkpoint() == ({"best": 1.0}, "iterator")
    monkeypatch.setattr(patch, "_stock_load_checkpoint", lambda *args: (None, "iterator"))
    assert patch.load_checkpoint() == (None, "iterator")


def test_workers_of_hydra_know_where_the_user_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("PWD", "/elsewhere")
    says = "import os, hydra_plugins.fairseq_dwt_search_path as p; print(os.environ[p.CWD])"
    assert python("-c", says, cwd=tmp_path).strip() == os.path.realpath(tmp_path)
    monkeypatch.setenv("FAIRSEQ_DWT_CWD", "/here")
    for program, folder in (("/bin/fairseq-hydra-train", "/here"), ("fairseq_cli/train.py", None)):
        monkeypatch.setattr(sys, "argv", [program])
        assert users_folder() == folder
