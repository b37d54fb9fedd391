"""Recipes in half precision, as on a GPU, and on several workers: the same tickets, nothing outside."""

from __future__ import annotations

import os
import socket

import pytest
import torch

from fairseq_dwt.any_checkpoint import open_pretrained
from fairseq_dwt.checkpoint import load_checkpoint
from fairseq_dwt.cli import main
from fairseq_dwt.delta.verify import moved_outside
from fairseq_dwt.model.roberta import is_copy
from fairseq_dwt.ticket import Ticket
from fairseq_dwt.ticket.similarity import similarity
from fairseq_dwt.train.halves import KEY
from tests.half import imitation
from tests.processes import finish, python, start
from tests.recipe.families import COMMON, FAMILIES, prepare, ticket_run

#: fp16 flattened, fp16 separate and bf16.
HALVES = {
    "fp16": ["--fp16", "--fp16-init-scale", "4"],
    "fp16 separate": ["--fp16", "--fp16-init-scale", "4", "--fp16-no-flatten-grads"],
    "bf16": ["--bf16"],
}
SLICE = {"file": "slice", "k": 2, "move_every": 3}
STEPS = ["--lr", "0.003", "--max-update", "8"]
FAMILY = FAMILIES["masked_lm"]
INIT = "pre/checkpoint_last.pt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("half")
    prepare(FAMILY, path)
    return path


def command(out, *more):
    recipe = [*FAMILY.recipe, *COMMON, "--finetune-from-model", INIT, "--disable-validation"]
    return [*recipe, "--save-dir", out, *more]


def train(folder, out, *more):
    """One run under the imitation of a GPU."""
    return python(os.path.abspath(imitation.__file__), *command(out, *more), cwd=folder)


def state(folder, out):
    return load_checkpoint(os.path.join(folder, out, "checkpoint_last.pt"))


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("settings", [{"l1_lambda": 1e-3}, {"file": "random", "k": 2}, SLICE])
def test_a_half_precision_run_resumes_exactly_and_moves_its_ticket(
    folder, half, settings, tmp_path
):
    more, whole = [*HALVES[half], *ticket_run(**settings)], str(tmp_path / "whole")
    train(folder, whole, "--lr", "0.003", "--max-epoch", "4", *more)
    parts = str(tmp_path / "parts")
    train(folder, parts, "--lr", "0.003", "--max-epoch", "2", *more)
    train(folder, parts, "--lr", "0.003", "--max-epoch", "4", *more)
    one, other = state(folder, whole), state(folder, parts)
    for name, tensor in one["model"].items():
        assert is_copy(name) or torch.equal(other["model"][name], tensor), name
    ticket = Ticket.load(f"{whole}/ticket.json")
    assert ticket.digest() == Ticket.load(f"{parts}/ticket.json").digest()
    init = open_pretrained(f"{folder}/{INIT}")
    if "file" in settings:
        trained = Ticket.load(f"{whole}/slices.json") if settings == SLICE else ticket
        assert moved_outside(init, f"{whole}/checkpoint_last.pt", trained) == []
    else:  # counted from the fp32 copies, which the checkpoint keeps
        assert one["task_state"][KEY]["weights"]
        tuned = ["--init", f"{folder}/{INIT}", "--tuned", f"{whole}/checkpoint_last.pt"]
        assert main(["extract", *tuned, "-o", f"{tmp_path}/again.json"]) == 0
        assert Ticket.load(f"{tmp_path}/again.json").digest() == ticket.digest()


def test_stage_1_finds_the_columns_of_fp32(folder, tmp_path):
    run = [*STEPS, "--dropout", "0", "--attention-dropout", "0", *ticket_run(l1_lambda=1e-3)]
    python("-m", "fairseq_cli.train", *command(str(tmp_path / "fp32"), *run), cwd=folder)
    whole = Ticket.load(f"{tmp_path}/fp32/ticket.json")
    for half, flags in HALVES.items():
        train(folder, str(tmp_path / half), *run, *flags)
        ticket = Ticket.load(f"{tmp_path}/{half}/ticket.json")
        assert similarity(whole.top(3), ticket.top(3)).per_matrix > 0.8, half


def test_from_a_half_precision_stage_1_nothing_has_moved_yet(folder, tmp_path):
    """Its fp32 copies are no θ of the run that starts there; its rounded weights are θ0."""
    first, then = str(tmp_path / "first"), str(tmp_path / "then")
    train(folder, first, *STEPS, *HALVES["bf16"], *ticket_run(l1_lambda=1e-7))
    more = ["--lr", "1e-12", "--max-update", "2", *HALVES["bf16"], *ticket_run(l1_lambda=1e-7)]
    start = ["--finetune-from-model", f"{first}/checkpoint_last.pt"]
    assert "for 0 of" in train(folder, then, *more, *start)


def test_one_shot_finds_the_file_of_fp32(folder, tmp_path):
    run = [*STEPS, *ticket_run(file="oneshot", k=2)]
    python("-m", "fairseq_cli.train", *command(str(tmp_path / "fp32"), *run), cwd=folder)
    whole = Ticket.load(f"{tmp_path}/fp32/ticket.json")
    for half in ("fp16", "bf16"):
        train(folder, str(tmp_path / half), *run, *HALVES[half])
        assert Ticket.load(f"{tmp_path}/{half}/ticket.json").digest() == whole.digest()


@pytest.mark.parametrize("settings", [{"l1_lambda": 1e-3}, {"file": "oneshot", "k": 2}, SLICE])
def test_two_workers_train_what_one_does(folder, settings, tmp_path):
    """Of all rows in each update, so that the order of batches does not matter."""
    run = [*STEPS, "--dropout", "0", "--attention-dropout", "0", "--mask-prob", "0.9"]
    run += [*ticket_run(**settings)]
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    many = [
        *("--distributed-world-size", "2", "--distributed-init-method", f"tcp://localhost:{port}"),
        *("--distributed-no-spawn", "--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"),
    ]
    group = [
        start(
            *("-m", "fairseq_cli.train"),
            *command(str(tmp_path / "two"), *run, *many, "--batch-size", "30"),
            *("--distributed-rank", str(rank)),
            cwd=folder,
        )
        for rank in range(2)
    ]
    for worker in group:
        finish(worker)
    alone = command(str(tmp_path / "one"), *run, "--batch-size", "60")
    python("-m", "fairseq_cli.train", *alone, cwd=folder)
    one, two = (state(folder, str(tmp_path / name)) for name in ("one", "two"))
    tickets = [Ticket.load(f"{tmp_path}/{name}/ticket.json").top(2) for name in ("one", "two")]
    assert similarity(*tickets).per_matrix > 0.9
    gaps = torch.cat(
        [
            (one["model"][n] - two["model"][n]).abs().flatten()
            for n in one["model"]
            if not is_copy(n)
        ]
    )
    # a slice's Adam begins anew with each move, where rounding noise is a step of lr
    assert (gaps < 5e-4).float().mean() > (0.8 if settings == SLICE else 0.9)
    if "file" in settings:
        name = "slices" if settings == SLICE else "ticket"
        ticket = Ticket.load(f"{tmp_path}/two/{name}.json")
        init = open_pretrained(f"{folder}/{INIT}")
        assert moved_outside(init, f"{tmp_path}/two/checkpoint_last.pt", ticket) == []
