"""What is read of run folders: which are runs, what was run, how it ended."""

from __future__ import annotations

import json
import os

import pytest

from fairseq_dwt import DwtError
from fairseq_dwt.cli import main
from fairseq_dwt.report.runs import find_runs
from fairseq_dwt.report.scores import score_table
from fairseq_dwt.ticket import Columns, Origin, Ticket
from tests.report.test_report import run


def run_folder(folder, log="", save_dir=".", **more):
    (folder / ".hydra").mkdir(parents=True)
    settings = {
        "task": {"_name": "ticket_finetune", "data": "d/RTE"},
        "optimizer": {"_name": "adam"},
        "checkpoint": {"best_checkpoint_metric": "loss", "save_dir": save_dir},
        "optimization": {"lr": [0.001]},
        "common": {"seed": 2},
        **more,
    }
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(settings))
    (folder / "hydra_train.log").write_text(log)
    return folder


def test_each_run_is_found_once_and_other_folders_are_left_alone(tmp_path, capsys):
    one = run_folder(tmp_path / "runs" / "one")
    run_folder(tmp_path / "elsewhere")
    (tmp_path / "runs" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "runs" / "around").symlink_to(tmp_path / "runs")
    other = tmp_path / "runs" / "another program" / ".hydra"
    other.mkdir(parents=True)
    (other / "config.yaml").write_text("db: {driver: mysql}\n")
    (tmp_path / "runs" / "killed" / ".hydra").mkdir(parents=True)
    (tmp_path / "runs" / "killed" / ".hydra" / "config.yaml").write_text("")
    names = [os.path.basename(r.folder) for r in find_runs([str(one), str(tmp_path / "runs")])]
    assert names == ["one", "linked"]
    (other / "config.yaml").write_text("task: {data: [d\n")
    assert main(["report", str(tmp_path / "runs"), "-o", str(tmp_path / "report")]) == 2
    told = capsys.readouterr().err
    assert "another program" in told and "expected the settings of a run" in told
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    "more",
    [{"task": {"data": "???"}}, {"task": {"data": None}}, {"task": None}, {"optimizer": None}],
)
def test_a_launch_that_failed_at_its_settings_was_no_run(more, tmp_path):
    one = run_folder(tmp_path / "runs" / "one")
    run_folder(tmp_path / "runs" / "failed", **more)
    assert [found.folder for found in find_runs([str(tmp_path / "runs")])] == [str(one)]


@pytest.mark.parametrize(
    "more", [{"optimization": {"lr": 0.1}}, {"optimization": {"lr": ["${nowhere}"]}}, {"common": 1}]
)
def test_settings_of_no_run_are_told_with_their_folder(more, tmp_path):
    folder = run_folder(tmp_path / "odd", **more)
    with pytest.raises(DwtError, match=f"{folder}: expected the settings of a run, got others"):
        find_runs([str(tmp_path)])


def test_a_recipes_ticket_lies_with_its_checkpoints(tmp_path):
    folder = run_folder(tmp_path / "a", save_dir="checkpoints", ticket={"file": "bitfit"})
    (folder / "checkpoints").mkdir()
    Ticket({"layers.0.fc1": Columns((4, 9), (9,))}, Origin("bitfit")).save(
        str(folder / "checkpoints" / "ticket.json")
    )
    (found,) = find_runs([str(folder)])
    assert found.method == "BitFit"


def test_a_run_that_was_extended_and_killed_is_unfinished(tmp_path):
    lines = ["[x][fairseq.trainer] - begin training epoch 1", "[x] - done training in 3.0 seconds"]
    finished = run_folder(tmp_path / "a", "\n".join(lines))
    extended = run_folder(tmp_path / "b", "\n".join([*lines, lines[0].replace("1", "2")]))
    assert [r.finished for r in find_runs([str(finished), str(extended)])] == [True, False]


def test_an_interrupted_run_is_reported_as_unfinished(tmp_path):
    folder = tmp_path / "a"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(
        "task: {_name: ticket_finetune, data: d/RTE}\n"
        "optimizer: {_name: dominant_ticket, ticket: random, k: 3}\n"
        "checkpoint: {best_checkpoint_metric: accuracy}\n"
        "optimization: {lr: [0.001]}\ncommon: {seed: 2}\n"
    )
    (found,) = find_runs([str(tmp_path)])
    assert (found.method, found.task, found.best, found.finished) == (
        "?",
        "RTE",
        None,
        False,
    )
    (folder / "hydra_train.log").write_text(
        '[2026-01-01 00:00:00,000][valid][INFO] - {"valid_accuracy": "61.5", '
        '"valid_num_updates": "50"}\n'
    )
    (found,) = find_runs([str(tmp_path)])
    assert found.best == 61.5 and not found.finished


@pytest.mark.parametrize(("given", "method"), [("l1_lambda: 0.1", "L1"), ("file: random", "?")])
def test_one_of_our_configs_with_a_recipes_settings_is_no_full_run(given, method, tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text(
        "task: {_name: ticket_finetune, data: d/RTE}\n"
        f"optimizer: {{_name: adam}}\nticket: {{{given}}}\n"
        "checkpoint: {best_checkpoint_metric: accuracy}\n"
        "optimization: {lr: [0.001]}\ncommon: {seed: 2}\n"
    )
    (found,) = find_runs([str(tmp_path)])
    assert found.method == method


def test_the_best_loss_is_the_lowest(tmp_path):
    losses = "".join(
        f'[x][valid][INFO] - {{"valid_loss": "{loss}", "valid_num_updates": "{number}"}}\n'
        for number, loss in enumerate((1.5, 1.07, 1.2), start=1)
    )
    (found,) = find_runs([str(run_folder(tmp_path / "a", losses))])
    assert found.best == 1.07
    worse = run("Full", 0, 1e-3, metric="loss", validations=[(1, 3.0)], maximize=False)
    better = run("Full", 0, 1e-4, metric="loss", validations=[(1, 2.125)], maximize=False)
    (row,) = score_table([worse, better])
    assert row.cells["RTE"].lr == 1e-4 and str(row.cells["RTE"]) == "2.12†"


def test_a_run_that_diverged_is_the_worst(tmp_path):
    log = "".join(
        f'[x][valid][INFO] - {{"valid_loss": "{loss}", "valid_num_updates": "{number}"}}\n'
        for number, loss in enumerate(("nan", 1.07, 1.2), start=1)
    )
    (found,) = find_runs([str(run_folder(tmp_path / "a", log))])
    assert found.best == 1.07
    nan = run("Full", 0, 1e-3, metric="loss", validations=[(1, float("nan"))], maximize=False)
    fine = run("Full", 0, 1e-4, metric="loss", validations=[(1, 3.0)], maximize=False)
    for runs in ([nan, fine], [fine, nan]):
        (row,) = score_table(runs)
        assert row.cells["RTE"].lr == 1e-4
    alone = run_folder(tmp_path / "nan", log.partition("\n")[0] + "\n")
    assert main(["report", str(alone), "-o", str(tmp_path / "report")]) == 0
