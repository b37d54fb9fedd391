"""A run's folder is one run: what another launch may change, and what it may not."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import load_checkpoint
from fairseq_dwt.run.folder import launched
from tests.conftest import write_roberta

RUNS = {"stage 1": "dwt_rte", "full": "full_rte", "bitfit": "bitfit_rte"}


def updates(folder):
    state = load_checkpoint(f"{folder}/checkpoint_last.pt")
    return state["optimizer_history"][-1]["num_updates"]


def files(folder):
    return {n: os.stat(f"{folder}/{n}").st_mtime_ns for n in os.listdir(folder) if n != ".lock"}


@pytest.fixture
def data(small, tmp_path):
    """A copy of the tiny task's data, to be made again otherwise."""
    return shutil.copytree(small.data, tmp_path / "again" / "RTE")


def swap_lines(path):
    first, second, *rest = path.read_text().splitlines()
    path.write_text("\n".join([second, first, *rest, ""]))


def test_a_checkpoint_without_the_optimizers_state_is_no_run_to_go_on_with(train):
    without = "checkpoint.no_save_optimizer_state=true"
    folder = train("bitfit_rte", without, "optimization.max_update=3")
    train("bitfit_rte", without, "optimization.max_update=3", folder=folder)
    before = files(folder)
    with pytest.raises(DwtError, match="checkpoint_last.pt: expected the optimizer's state"):
        train("bitfit_rte", without, folder=folder)
    assert files(folder) == before


@pytest.mark.parametrize("more", [3, 6], ids=["finished", "to be gone on with"])
@pytest.mark.parametrize("run", RUNS)
def test_another_model_is_refused(run, more, small, train, tmp_path):
    folder = train(RUNS[run], "optimization.max_update=3")
    other = str(tmp_path / "other.pt")
    write_roberta(other, small.data, seed=7)
    before = files(folder)
    with pytest.raises(DwtError, match="run.json: expected the pre-trained model .* got"):
        train(
            RUNS[run],
            f"checkpoint.finetune_from_model={other}",
            f"optimization.max_update={more}",
            folder=folder,
        )
    assert files(folder) == before


@pytest.mark.parametrize("run", RUNS)
def test_labels_in_another_order_are_refused(run, data, train):
    folder = train(RUNS[run], f"task.data={data}", "optimization.max_update=3")
    swap_lines(data / "label" / "dict.txt")
    with pytest.raises(DwtError, match="the labels, in this order, 0, 1 .* got 1, 0"):
        train(RUNS[run], f"task.data={data}", folder=folder)


def test_another_dictionary_of_the_same_size_is_refused(data, train):
    folder = train("full_rte", f"task.data={data}", "optimization.max_update=3")
    for side in ("input0", "input1"):
        swap_lines(data / side / "dict.txt")
    with pytest.raises(DwtError, match="the data's dictionary"):
        train("full_rte", f"task.data={data}", folder=folder)


def test_another_task_is_refused(data, train):
    folder = train("full_rte", f"task.data={data}", "optimization.max_update=3")
    other = data.rename(data.with_name("MRPC"))
    with pytest.raises(DwtError, match="the data of task RTE .* got MRPC"):
        train("full_rte", f"task.data={other}", folder=folder)


INSIDE = ["+ticket.file=random", "+ticket.k=1"]


@pytest.mark.parametrize(
    "first, then, what",
    [
        (["full_rte"], ["bitfit_rte"], "the method"),
        (["bitfit_rte"], ["full_rte"], "the method"),
        (["dwt_rte"], ["full_rte"], "the method"),
        (["full_rte"], ["full_rte", "optimizer._name=sgd"], "the method"),
        (["random_rte"], ["random_rte", "optimizer.ticket_seed=9"], "the ticket"),
        (["random_rte"], ["random_rte", "optimizer.k=2"], "the ticket"),
        (["dwt_rte"], ["dwt_rte", "criterion.l1_lambda=0.1"], "criterion.l1_lambda 0.001"),
        (["dwt_rte"], ["dwt_rte", "common.bf16=true"], "goes on in fp32"),
        (["full_rte", "common.bf16=true"], ["full_rte"], "goes on in fp16 or bf16"),
        (["full_rte"], ["full_rte", *INSIDE], "the settings ticket.* None of"),
        (["full_rte", *INSIDE], ["full_rte"], "the settings ticket.* .*random.*, got None"),
        (
            ["full_rte", *INSIDE],
            ["full_rte", *INSIDE, "+ticket.seed=9"],
            "the settings ticket.* .*seed",
        ),
    ],
)
def test_another_method_ticket_or_precision_is_refused(first, then, what, train):
    folder = train(*first, "optimization.max_update=3")
    with pytest.raises(DwtError, match=f"expected .*{what}"):
        train(*then, folder=folder)
    assert updates(folder) == 3


@pytest.mark.parametrize("run", RUNS)
def test_what_fairseq_lets_change_may_change(run, train):
    folder = train(RUNS[run], "optimization.max_update=3")
    more = ["task.sigma=1e-3"] if run == "stage 1" else []
    changed = ["optimization.lr=[1e-4]", "dataset.batch_size=4", "common.log_interval=1"]
    assert updates(train(RUNS[run], *changed, *more, folder=folder)) == 6


@pytest.mark.parametrize("changed", ["optimization.lr=[1e-4]", "common.seed=9"])
def test_a_finished_run_is_not_another_one(changed, train):
    """Hydra's settings are of the last launch, the report's of the last that trained."""
    folder = train("bitfit_rte", "optimization.max_update=3")
    train("bitfit_rte", "optimization.max_update=3", folder=folder)  # itself
    before = files(folder)
    with pytest.raises(DwtError, match="run.json: expected the run that has finished here, with"):
        train("bitfit_rte", "optimization.max_update=3", changed, folder=folder)
    assert files(folder) == before
    train("bitfit_rte", changed, folder=folder)  # to six updates
    record = launched(f"{folder}/run.json")
    assert (record["lr"], record["seed"]) == (([1e-4], 1) if "lr" in changed else ([0.01], 9))


def test_a_folder_of_before_is_compared_as_far_as_it_tells(data, small, train, tmp_path):
    """Without run.json: the labels of the checkpoint, and the ticket with its model."""
    folder = train("bitfit_rte", f"task.data={data}", "optimization.max_update=3")
    kept = json.loads((tmp_path / "run" / "run.json").read_text())
    os.unlink(f"{folder}/run.json")
    other = str(tmp_path / "other.pt")
    write_roberta(other, small.data, seed=7)
    given = f"checkpoint.finetune_from_model={other}"
    with pytest.raises(DwtError, match="expected the pre-trained model"):
        train("bitfit_rte", f"task.data={data}", given, folder=folder)
    assert updates(train("bitfit_rte", f"task.data={data}", folder=folder)) == 6
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == kept
    os.unlink(f"{folder}/run.json")
    swap_lines(data / "label" / "dict.txt")
    with pytest.raises(DwtError, match="the labels"):
        train("bitfit_rte", f"task.data={data}", "optimization.max_update=9", folder=folder)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_record_is_one_sentence(content, train, tmp_path):
    folder = train("full_rte", "optimization.max_update=3")
    (tmp_path / "run" / "run.json").write_text(content)
    with pytest.raises(DwtError, match="run.json: expected"):
        train("full_rte", folder=folder)
