"""A recipe's run that is launched again: the same run goes on, another one is refused."""

from __future__ import annotations

import fcntl
import re
import shutil
from pathlib import Path

import pytest
import torch

from fairseq_dwt.checkpoint import load_checkpoint
from tests.recipe.families import FAMILIES, prepare, ticket_run

STEPS = ["--lr", "0.003", "--max-update"]
FIND = {"l1_lambda": 1e-7}


@pytest.fixture(scope="module")
def mlm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("again")
    prepare(FAMILIES["masked_lm"], folder)
    family = FAMILIES["masked_lm"]
    family.train(folder, "s1", *STEPS, "4", *ticket_run(**FIND))
    family.train(folder, "s2", *STEPS, "4", *ticket_run(file="random", k=1))
    state = load_checkpoint(f"{folder}/pre/checkpoint_last.pt")
    for name, tensor in state["model"].items():
        if tensor.is_floating_point():
            state["model"][name] = tensor + 0.01
    torch.save(state, folder / "pre" / "other.pt")
    return family, folder


def updates(folder, name):
    return load_checkpoint(f"{folder}/{name}/checkpoint_last.pt")["optimizer_history"][-1][
        "num_updates"
    ]


def test_a_finished_run_is_left_as_it_is(mlm):
    family, folder = mlm
    before = Path(folder, "s1", "ticket.json").read_bytes()
    said = family.train(folder, "s1", *STEPS, "4", *ticket_run(**FIND))
    assert "has finished already, after 4 updates" in said
    assert updates(folder, "s1") == 4
    assert Path(folder, "s1", "ticket.json").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--lr", "0.01"], "finished here, with lr [0.003], got lr [0.01]"),
        (["--seed", "2"], "finished here, with seed 1, got seed 2"),
    ],
)
def test_a_finished_run_is_not_another_rates_or_seeds(mlm, more, told):
    family, folder = mlm
    before = Path(folder, "s1", "checkpoint_last.pt").read_bytes()
    with pytest.raises(AssertionError, match=re.escape(told)):
        family.train(folder, "s1", *STEPS, "4", *ticket_run(**FIND), *more)
    assert Path(folder, "s1", "checkpoint_last.pt").read_bytes() == before


def test_patience_is_not_forgotten(mlm):
    family, folder = mlm
    stop = [*ticket_run(file="random", k=1), "--patience", "2", "--max-epoch"]
    run = ["--lr", "1.0"]
    family.train(folder, "whole", *run, *stop, "9", validate=True)
    family.train(folder, "halved", *run, *stop, "2", validate=True)
    family.train(folder, "halved", *run, *stop, "9", validate=True)
    assert updates(folder, "halved") == updates(folder, "whole")
    told = family.train(folder, "whole", *run, *stop, "9", validate=True)
    assert "has finished already" in told


OTHERS = {
    "another λ": ("s1", ticket_run(l1_lambda=1.0), "expected ticket.l1_lambda 1e-07 of the run"),
    "another step": (
        "s1",
        ticket_run(**FIND, step="subgradient"),
        "expected ticket.step proximal of the run",
    ),
    "another ticket": ("s2", ticket_run(file="random", k=1, seed=7), "expected the ticket"),
    "another stage": ("s2", ticket_run(**FIND), "expected a checkpoint of stage 1"),
    "another optimizer": (
        "s2",
        [*ticket_run(file="random", k=1), "--optimizer", "nag"],
        "expected the optimizer adam of the run whose checkpoints are here, got nag",
    ),
    "another θ0": (
        "s1",
        [*ticket_run(**FIND), "--finetune-from-model", "pre/other.pt"],
        "expected the pre-trained model",
    ),
    "another precision": (
        "s1",
        [*ticket_run(**FIND), "--bf16"],
        "which it began, got fp16 or bf16",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_run_is_refused(mlm, case):
    family, folder = mlm
    name, more, told = OTHERS[case]
    with pytest.raises(AssertionError, match=re.escape(told)):
        family.train(folder, name, *STEPS, "8", *more)
    assert updates(folder, name) == 4


def test_the_ticket_is_known_where_its_file_is_gone(mlm):
    family, folder = mlm
    shutil.copytree(folder / "s2", folder / "gone")
    (folder / "gone" / "ticket.json").unlink()
    with pytest.raises(AssertionError, match="expected the ticket"):
        family.train(folder, "gone", *STEPS, "8", *ticket_run(file="random", k=1, seed=7))


def test_a_run_begun_before_checkpoints_kept_it_is_held_to_its_file(mlm):
    family, folder = mlm
    shutil.copytree(folder / "s2", folder / "older")
    state = load_checkpoint(f"{folder}/older/checkpoint_last.pt")
    state["ticket"] = {name: state["ticket"][name] for name in ("names", "init", "stage")}
    torch.save(state, folder / "older" / "new.pt")  # the other is mapped into memory
    (folder / "older" / "new.pt").replace(folder / "older" / "checkpoint_last.pt")
    with pytest.raises(AssertionError, match="expected the ticket"):
        family.train(folder, "older", *STEPS, "8", *ticket_run(file="random", k=1, seed=7))
    family.train(folder, "older", *STEPS, "5", *ticket_run(file="random", k=1))
    assert updates(folder, "older") == 5


def test_a_run_whose_epochs_are_over_needs_no_optimizer_state(mlm):
    family, folder = mlm
    given = ["--lr", "0.003", *ticket_run(file="random", k=1), "--no-save-optimizer-state"]
    family.train(folder, "over", *given, "--max-epoch", "1")
    assert "finished already" in family.train(folder, "over", *given, "--max-epoch", "1")
    with pytest.raises(AssertionError, match="expected the optimizer's state"):
        family.train(folder, "over", *given, "--max-epoch", "2")


def test_a_second_process_in_the_folder_is_refused(mlm):
    family, folder = mlm
    (folder / "held").mkdir()
    with open(folder / "held" / ".lock", "a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        with pytest.raises(AssertionError, match="another process is running"):
            family.train(folder, "held", *STEPS, "2", *ticket_run(**FIND))


def test_a_damaged_checkpoint_is_not_resumed(mlm):
    family, folder = mlm
    shutil.copytree(folder / "s2", folder / "damaged")
    path = folder / "damaged" / "checkpoint_last.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(AssertionError, match="the file is damaged"):
        family.train(folder, "damaged", *STEPS, "8", *ticket_run(file="random", k=1))
