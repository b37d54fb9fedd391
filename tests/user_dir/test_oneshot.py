"""One-shot tickets in runs, resumed runs and several workers, and by the command."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.cli import main
from fairseq_dwt.delta.verify import moved_outside
from fairseq_dwt.model.names import is_head
from fairseq_dwt.model.roberta import canonical_name
from fairseq_dwt.run import config
from fairseq_dwt.ticket import Ticket
from tests.conftest import weights
from tests.processes import COMMON, finish, workers

ONESHOT = ["optimizer.ticket=oneshot", "optimizer.k=2"]


def same(one, other):
    a, b = (weights(f"{folder}/checkpoint_last.pt") for folder in (one, other))
    # fairseq 0.12.2 saves copies of a layer's weights too, which a resumed run fills anew
    own = [name for name in a if canonical_name(name) or is_head(name)]
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in own)


@pytest.fixture
def oneshot(small, tmp_path, monkeypatch, capsys):
    """Runs ``fairseq-dwt oneshot`` with the settings of ``train``; returns the ticket."""

    def command(*arguments, config="ticket_rte", word="oneshot"):
        monkeypatch.chdir(small.folder)
        path = str(tmp_path / "command.json")
        settings = ["task.data=data-bin/RTE", "checkpoint.finetune_from_model=model.pt"]
        settings += ["task.num_classes=2", "dataset.batch_size=8", "common.cpu=true"]
        settings += ["model.attention_dropout=0", "model.pooler_dropout=0"]
        code = main([word, "--config-name", config, *settings, *arguments, "-o", path])
        command.output = capsys.readouterr()
        return Ticket.load(path) if code == 0 else code

    return command


@pytest.mark.parametrize("word", ["oneshot", "forward"])
def test_as_many_columns_as_are_asked_for(word, train, oneshot, monkeypatch):
    """However few a ticket of stage 1 keeps; the command's file is the run's."""
    monkeypatch.setattr("fairseq_dwt.run.at_theta0.RANKED_COLUMNS", 1)
    run = train("ticket_rte", f"optimizer.ticket={word}", "optimizer.k=3")
    assert Ticket.load(f"{run}/ticket.json").k == Ticket.load(f"{run}/{word}.json").k == 3
    assert oneshot(f"optimizer.ticket={word}", "optimizer.k=3", word=word).k == 3


def test_a_forward_ticket_is_made_and_kept_the_same_way(train, pretrained, oneshot, tmp_path):
    run = train("ticket_rte", "optimizer.ticket=forward", "optimizer.k=2", folder=tmp_path / "a")
    whole, used = (Ticket.load(f"{run}/{name}.json") for name in ("forward", "ticket"))
    assert used == whole.top(2) and whole.origin.method == "forward"
    assert moved_outside(pretrained, f"{run}/checkpoint_last.pt", used) == []
    assert oneshot(word="forward") == whole


@pytest.mark.parametrize("mode", ["compact", "masked"])
def test_a_run_makes_its_ticket_and_trains_inside_it(mode, train, pretrained, tmp_path):
    mine = [*ONESHOT, f"optimizer.mode={mode}", "model.dropout=0.1"]
    run = train("ticket_rte", *mine, folder=tmp_path / "a")
    whole, used = (Ticket.load(f"{run}/{name}.json") for name in ("oneshot", "ticket"))
    assert used == whole.top(2) and used.num_parameters > 0
    assert (whole.origin.method, whole.origin.task, whole.origin.seed) == ("oneshot", "RTE", 1)
    assert all(len(entry.columns) > 2 for entry in whole.matrices.values())
    assert moved_outside(pretrained, f"{run}/checkpoint_last.pt", used) == []
    # finding the ticket draws no random number that the run misses
    given = [
        "model.dropout=0.1",
        f"optimizer.ticket={run}/oneshot.json",
        "optimizer.k=2",
        f"optimizer.mode={mode}",
    ]
    assert same(run, train("ticket_rte", *given, folder=tmp_path / "b"))


def test_a_resumed_run_keeps_its_ticket(train, tmp_path):
    often = ["checkpoint.save_interval_updates=2", "model.dropout=0.1"]
    whole = train("ticket_rte", *ONESHOT, *often, folder=tmp_path / "whole")
    killed = tmp_path / "killed"
    killed.mkdir()
    shutil.copy(f"{whole}/checkpoint_1_2.pt", killed / "checkpoint_last.pt")
    for name in ("oneshot.json", "ticket.json"):
        shutil.copy(f"{whole}/{name}", killed / name)
    before = os.stat(killed / "oneshot.json").st_mtime_ns
    assert same(whole, train("ticket_rte", *ONESHOT, *often, folder=killed))
    assert os.stat(killed / "oneshot.json").st_mtime_ns == before
    with pytest.raises(DwtError, match="expected the ticket .* of the run that is here"):
        train("ticket_rte", "optimizer.ticket=oneshot", "optimizer.k=1", folder=killed)


def test_the_command_finds_the_ticket_of_the_run(train, oneshot, tmp_path):
    dropout = "model.dropout=0.1"
    run = train("ticket_rte", *ONESHOT, "common.seed=3", dropout, folder=tmp_path / "run")
    found = oneshot("common.seed=3", dropout)
    assert found == Ticket.load(f"{run}/oneshot.json")
    assert "batches agree with half as many by" in oneshot.output.out
    assert f"batches {found.origin.num_batches}" in oneshot.output.out
    # stage 1's config, the full one's: the same head, batches and loss
    assert oneshot("common.seed=3", dropout, config="full_rte") == found
    assert oneshot("common.seed=3", dropout, config="dwt_rte") == found
    assert oneshot("common.seed=4", dropout) != found
    assert oneshot("common.seed=3", "model.dropout=0") != found
    assert oneshot("common.seed=3", "--batches", "12").origin.num_batches == 12


@pytest.mark.parametrize("arguments, message", [
    (["--batches", "13"], "expected 13 batches of train data, got 12"),
    (["task.attention=fairseq"], "task.attention: oneshot looks into the projection"),
    (["optimizer.nonsense=1"], "--config-name ticket_rte: Could not override"),
    (["checkpoint.finetune_from_model=gone.pt"], "found none at"),
    (["task.data=gone"], "task.data: expected a folder that preprocess.py wrote"),
    (["task._name=sentence_prediction"], "--config-name ticket_rte: Key 'cwd'"),
])  # fmt: skip
def test_the_command_refuses_in_one_sentence(arguments, message, oneshot, tmp_path):
    assert oneshot(*arguments) == 2
    assert message in oneshot.output.err and oneshot.output.err.count("\n") == 1
    assert not (tmp_path / "command.json").exists()


def test_refuses_a_config_that_is_not_there(oneshot, tmp_path):
    assert oneshot(config="ticket_nli") == 2
    assert "found no ticket_nli.yaml in" in oneshot.output.err
    assert oneshot("--config-dir", str(tmp_path)) != 2  # ours, where the folder has none


def test_a_users_own_config(oneshot, tmp_path):
    text = json.dumps(launch_config())
    (tmp_path / "mine.yaml").write_text(text)
    found = oneshot("--config-dir", str(tmp_path), config="mine")
    assert isinstance(found, Ticket)


def launch_config():
    """What ticket_rte says, in one file."""
    from omegaconf import OmegaConf

    overrides = ["task.cwd=/", "task.data=d", "checkpoint.finetune_from_model=m"]
    cfg = config.compose("ticket_rte", [*overrides, "optimizer.ticket=oneshot"])
    told = ("task", "criterion", "optimizer", "model", "lr_scheduler")
    mine = {name: OmegaConf.to_container(cfg[name]) for name in told}
    mine["optimizer"].pop("lr", None)
    mine["dataset"] = {"batch_size": 8}
    mine["common"] = {"user_dir": cfg.common.user_dir, "seed": 1, "cpu": True}
    mine["checkpoint"] = {"finetune_from_model": "m"}
    return mine


def test_two_workers_train_inside_one_ticket(small, tmp_path, oneshot):
    folder = tmp_path / "two"
    group = workers(
        2, "--config-name", "ticket_rte", *COMMON, *ONESHOT, f"hydra.run.dir={folder}",
        "task.num_classes=2", cwd=small.folder,
    )  # fmt: skip
    for worker in group:
        finish(worker)
    assert Ticket.load(str(folder / "oneshot.json")) == oneshot("model.dropout=0")


@pytest.mark.parametrize("classes, taken", [(2, True), (3, False)])
def test_the_head_is_the_one_that_the_run_starts_with(classes, taken, small, train, tmp_path):
    """fairseq takes a head of the base file where its name and shape are the run's."""
    from fairseq_dwt.checkpoint import Pretrained
    from fairseq_dwt.run.first_batches import start_at
    from tests.conftest import WORDS, roberta

    state = torch.load(small.init, weights_only=False)
    model = roberta(WORDS, seed=5)
    model.register_classification_head("sentence_classification_head", num_classes=classes)
    heads = {n: t for n, t in model.state_dict().items() if is_head(n)}
    state["model"].update({name: tensor.half() for name, tensor in heads.items()})
    base = str(tmp_path / "with_head.pt")
    torch.save(state, base)
    # the run's own head after no update
    still = ["optimization.lr=[0]", "optimization.max_update=1"]
    run = train("full_rte", f"checkpoint.finetune_from_model={base}", *still)
    model = roberta(WORDS, seed=6)
    model.register_classification_head("sentence_classification_head", num_classes=2)
    fresh = {n: p.detach().clone() for n, p in model.named_parameters() if is_head(n)}
    start_at(model, Pretrained(base))
    for name, parameter in model.named_parameters():
        if is_head(name):
            of_run = torch.equal(parameter, weights(f"{run}/checkpoint_last.pt")[name])
            assert of_run is taken and torch.equal(parameter, fresh[name]) is not taken, name
