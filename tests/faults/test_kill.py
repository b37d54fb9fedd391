"""Runs that are killed, at any moment and in the middle of a write, and started again.

``DWT_KILLS=20 python -m pytest tests/faults`` kills each stage 20 times in each way.
"""

from __future__ import annotations

import filecmp
import os
import random
import re
import resource
import signal
import time

import pytest
import torch

from fairseq_dwt.checkpoint import Pretrained, load_checkpoint
from fairseq_dwt.model.names import is_head
from fairseq_dwt.model.roberta import canonical_name
from fairseq_dwt.ticket import Ticket
from tests.processes import COMMON, HYDRA_TRAIN, finish, start

KILLS = int(os.environ.get("DWT_KILLS", "1"))

UPDATES = 60
#: Five epochs, with dropout, a checkpoint at every second update.
SETTINGS = [
    *COMMON, f"optimization.max_update={UPDATES}", "checkpoint.patience=-1",
    "model.dropout=0.1", "model.attention_dropout=0.1",
    "checkpoint.save_interval_updates=2", "checkpoint.keep_interval_updates=1",
]  # fmt: skip
STAGES = {
    "stage 1": ["--config-name", "dwt_rte", "criterion.l1_lambda=0.05", "task.sigma=1e-3"],
    "stage 2": ["--config-name", "ticket_rte", "optimizer.ticket=oneshot", "optimizer.k=2"],
}
#: fairseq-hydra-train whose process dies of the write that makes a file larger than allowed.
DIES_OF_WRITES = [
    "-c",
    "import runpy, signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); "
    "runpy.run_module('fairseq_cli.hydra_train', run_name='__main__', alter_sys=True)",
]


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """Each stage's run that is left alone: its folder and how long it took, in seconds."""
    runs = {}
    for stage, command in STAGES.items():
        folder = tmp_path_factory.mktemp("whole")
        began = time.monotonic()
        finish(launch(command, folder, small))
        runs[stage] = (folder, time.monotonic() - began)
    return runs


def launch(command, folder, small, program=HYDRA_TRAIN, more=()):
    return start(*program, *command, *SETTINGS, *more, f"hydra.run.dir={folder}", cwd=small.folder)


def wait_for_a_moment(process, folder, chance, seconds):
    """Until some update was saved, and a little more; at times in the start-up."""
    update = chance.randrange(0, UPDATES - 20, 2)
    while update and not any(saved_update(name) >= update for name in os.listdir(folder)):
        assert process.poll() is None
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.1 if update else 0.5 * seconds))


def saved_update(name):
    found = re.fullmatch(r"checkpoint_\d+_(\d+)\.pt", name)
    return int(found.group(1)) if found else 0


def limit_files(process, size):
    """From now on no file of the process grows beyond ``size`` bytes."""
    resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))


def trainable(name):
    # fairseq 0.12.2 saves copies of a layer's weights too, which a resumed run fills anew
    return canonical_name(name) or is_head(name)


def assert_same(one, other, init):
    """Two folders hold the same run's end, bit by bit."""
    a, b = (load_checkpoint(f"{folder}/checkpoint_last.pt") for folder in (one, other))
    assert a["model"].keys() == b["model"].keys()
    for name in filter(trainable, a["model"]):
        assert torch.equal(a["model"][name], b["model"][name]), name
    assert a["optimizer_history"][-1]["num_updates"] == b["optimizer_history"][-1]["num_updates"]
    best = [load_checkpoint(f"{folder}/checkpoint_best.pt")["model"] for folder in (one, other)]
    assert all(torch.equal(best[0][name], best[1][name]) for name in filter(trainable, best[0]))
    names = [n for n in os.listdir(one) if n in ("ticket.json", "oneshot.json", "predictions.tsv")]
    assert "ticket.json" in names
    for name in names:
        assert filecmp.cmp(f"{one}/{name}", f"{other}/{name}", shallow=False), name
    # θ0 is still the file's
    assert Ticket.load(f"{other}/ticket.json").origin.base == Pretrained(init).fingerprint


@pytest.mark.parametrize("how", ["at any moment", "in a write", "disk full"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_goes_on_as_if_nothing_had_happened(stage, how, whole, small, tmp_path):
    alone, seconds = whole[stage]
    largest = max(os.path.getsize(alone / name) for name in os.listdir(alone) if "." in name)
    for trial in range(KILLS):
        chance = random.Random(f"{stage} {how} {trial}")
        folder = tmp_path / str(trial)
        folder.mkdir()
        program = DIES_OF_WRITES if how == "in a write" else HYDRA_TRAIN
        process = launch(STAGES[stage], folder, small, program)
        wait_for_a_moment(process, folder, chance, seconds)
        if how == "at any moment":
            process.kill()
        else:
            limit_files(process, int(largest * chance.random() ** 3))
        output, _ = process.communicate(timeout=300)
        assert process.returncode != 0, output[-2000:]
        for name in ("ticket.json", "oneshot.json"):
            if (folder / name).exists():
                Ticket.load(str(folder / name))  # whole, or not there
        finish(launch(STAGES[stage], folder, small))
        assert_same(alone, folder, small.init)
    print(f"{stage}, {how}: {KILLS} runs died and were resumed, none was lost")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_ends_a_run_that_can_go_on(stage, number, whole, small, tmp_path):
    alone, _ = whole[stage]
    process = launch(STAGES[stage], tmp_path, small)
    while not (tmp_path / "predictions.tsv").exists():  # of the first validation, at update 2
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number, output[-2000:]
    name = signal.Signals(number).name
    last = output.strip().splitlines()[-1]
    told = re.search(rf"{name}: stopped after update (\d+), saved in .*; the same command", last)
    assert told, last
    state = load_checkpoint(str(tmp_path / "checkpoint_last.pt"))
    assert state["optimizer_history"][-1]["num_updates"] == int(told.group(1)) < UPDATES
    finish(launch(STAGES[stage], tmp_path, small))
    assert_same(alone, tmp_path, small.init)


def test_two_runs_in_one_folder(small, tmp_path):
    endless = ["optimization.max_update=100000", "optimization.max_epoch=100000"]
    endless.append("checkpoint.patience=-1")
    first = launch(STAGES["stage 2"], tmp_path, small, more=endless)
    try:
        while not (tmp_path / "checkpoint_last.pt").exists():
            assert first.poll() is None
            time.sleep(0.05)
        second = launch(STAGES["stage 2"], tmp_path, small)
        output, _ = second.communicate(timeout=120)
        assert second.returncode not in (0, None)
        assert "got one in which another process is running" in output
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
