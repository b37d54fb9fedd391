"""Several workers train what one does, whatever happens to one of them."""

from __future__ import annotations

import os
import time

import hydra
import pytest
import torch
from packaging.version import Version

from fairseq_dwt.checkpoint import Pretrained
from fairseq_dwt.delta.verify import moved_outside
from fairseq_dwt.ticket import load_ticket
from tests.conftest import weights
from tests.processes import COMMON, HYDRA_TRAIN, finish, start, workers

STAGE_1 = ["--config-name", "dwt_rte", "criterion.l1_lambda=0.05", "task.sigma=1e-3"]
STAGE_2 = ["--config-name", "ticket_rte", "optimizer.ticket=random", "optimizer.k=2"]
RUNS = {
    "stage 1": STAGE_1,
    "compact": STAGE_2,
    "masked": [*STAGE_2, "optimizer.mode=masked"],
}


#: fairseq's pytorch_ddp (c10d) gives torch a GPU's number on a CPU too, and cannot run here.
CASES = [
    ("stage 1", 2, "legacy_ddp"),
    ("stage 1", 4, "no_c10d"),
    ("compact", 4, "legacy_ddp"),
    ("masked", 2, "no_c10d"),
]


def assert_same_weights(one, other, init):
    for name in init:
        # Adam divides a gradient by its size, so that rounding shows; the weights moved by 1e-3
        if not name.endswith("k_proj.bias"):
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-4)
    moved = [float((one[n] - init[n].float()).abs().max()) for n in init if ".layers." in n]
    assert max(moved) > 1e-3


@pytest.mark.parametrize("run, number, backend", CASES)
def test_workers_equal_one_with_the_whole_batch(run, number, backend, small, tmp_path):
    """All 96 rows in each update, so that the order of batches does not matter."""
    command = [*RUNS[run], *COMMON, "optimization.lr=[0.002]"]
    many, alone = f"{tmp_path}/many", f"{tmp_path}/alone"
    group = workers(
        number, *command, f"hydra.run.dir={many}", f"dataset.batch_size={96 // number}",
        f"distributed_training.ddp_backend={backend}", cwd=small.folder,
    )  # fmt: skip
    for worker in group:
        finish(worker)
    whole = [f"hydra.run.dir={alone}", "dataset.batch_size=96"]
    finish(start(*HYDRA_TRAIN, *command, *whole, cwd=small.folder))
    one, other = (weights(f"{folder}/checkpoint_last.pt") for folder in (alone, many))
    assert_same_weights(one, other, Pretrained(small.init).tensors)
    a, b = (load_ticket(f"{folder}/ticket.json") for folder in (alone, many))
    # rounding may push a weight over σ, so a count may differ; what is ranked first must not
    assert a.top(1).digest() == b.top(1).digest()
    if run != "stage 1":
        assert a == b
        checkpoint = f"{many}/checkpoint_last.pt"
        assert moved_outside(Pretrained(small.init), checkpoint, b) == []


@pytest.mark.parametrize("run", ["stage 1", "compact"])
def test_a_dummy_batch_adds_nothing(run, small, tmp_path):
    """Five batches for two workers: fairseq gives the second one a dummy, twice."""
    command = [
        *RUNS[run], *COMMON, "optimization.lr=[0.002]", "dataset.batch_size=20",
        "optimization.max_epoch=2",
    ]  # fmt: skip
    for worker in workers(2, *command, f"hydra.run.dir={tmp_path}/two", cwd=small.folder):
        finish(worker)
    # one worker that adds up the gradients of the same batches
    finish(start(
        *HYDRA_TRAIN, *command, f"hydra.run.dir={tmp_path}/one", "optimization.update_freq=[2]",
        cwd=small.folder,
    ))  # fmt: skip
    one, two = (weights(f"{tmp_path}/{name}/checkpoint_last.pt") for name in ("one", "two"))
    assert_same_weights(one, two, Pretrained(small.init).tensors)


#: ``fairseq-hydra-train`` where it sees two GPUs, for each of which it spawns a worker.
SPAWNS = """
import torch
torch.cuda.device_count = lambda: 2
from fairseq_cli.hydra_train import cli_main
cli_main()
"""
#: hydra 1.0 always changes into the run's folder.
STAYS = [] if Version(hydra.__version__) < Version("1.2") else ["hydra.job.chdir=false"]


@pytest.mark.parametrize("settings, told", [
    ((), None),
    (("optimizer.ticket=gone.json",), "gone.json: expected a ticket file, found none"),
], ids=["a run", "bad input"])  # fmt: skip
def test_workers_that_fairseq_spawns(settings, told, small, tmp_path):
    """They find the run's folder and the user's; what they cannot do is told in a sentence."""
    process = start(
        "-c", SPAWNS, *RUNS["compact"], *COMMON, *STAYS, *settings, "common.cpu=true",
        "optimization.max_update=2", "distributed_training.distributed_world_size=2",
        "distributed_training.distributed_backend=gloo", f"hydra.run.dir={tmp_path}/run",
        cwd=small.folder,
    )  # fmt: skip
    output, _ = process.communicate(timeout=600)
    if told is None:
        assert process.returncode == 0, output[-4000:]
        assert os.path.isfile(tmp_path / "run" / "checkpoint_last.pt")
    else:
        assert process.returncode == 1 and "Traceback" not in output, output[-4000:]
        assert f"\n{small.folder}/{told}; " in output, output[-4000:]
        assert not os.path.exists(tmp_path / "run" / "checkpoint_last.pt")


@pytest.mark.parametrize("run", ["stage 1", "compact"])
def test_a_killed_worker_ends_the_job(run, small, tmp_path):
    group = workers(
        2, *RUNS[run], *COMMON, f"hydra.run.dir={tmp_path}", "optimization.max_update=100000", "optimization.max_epoch=100000", "checkpoint.patience=-1",
        "checkpoint.save_interval_updates=5", "checkpoint.keep_interval_updates=1",
        cwd=small.folder,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not os.path.exists(tmp_path / "checkpoint_last.pt"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        group[1].kill()
        output, _ = group[0].communicate(timeout=120)
    finally:
        for worker in group:
            worker.kill()
    assert group[0].returncode not in (0, -9), output[-2000:]
    assert weights(str(tmp_path / "checkpoint_last.pt"))
