"""Two gloo workers in half precision train what one does with the whole batch."""

from __future__ import annotations

import os

import pytest

from tests.half import imitation
from tests.half.conftest import ON_GPU, PRECISIONS, copies
from tests.processes import COMMON, finish, start, workers

pytestmark = pytest.mark.skipif(ON_GPU, reason="gloo workers on a CPU; tests/gpu has a GPU's")

IMITATION = [os.path.abspath(imitation.__file__)]
RUNS = {
    "stage 1": ["--config-name", "dwt_rte"],
    "compact": ["--config-name", "ticket_rte", "optimizer.ticket=random", "optimizer.k=2"],
}


@pytest.mark.parametrize(
    "run, precision", [("stage 1", "fp16"), ("stage 1", "bf16"), ("compact", "fp16")]
)
def test_two_workers_equal_one(run, precision, small, tmp_path):
    command = [*RUNS[run], *COMMON, *PRECISIONS[precision], "optimization.lr=[0.002]"]
    many, alone = f"{tmp_path}/many", f"{tmp_path}/alone"
    group = workers(
        2, *command, f"hydra.run.dir={many}", "dataset.batch_size=48",
        cwd=small.folder, program=IMITATION,
    )  # fmt: skip
    for worker in group:
        finish(worker)
    whole = [f"hydra.run.dir={alone}", "dataset.batch_size=96", "common.cpu=true"]
    finish(start(*IMITATION, *command, *whole, cwd=small.folder))
    one, other = (copies(f"{folder}/checkpoint_last.pt") for folder in (alone, many))
    # weights went up to 0.007 far; where a gradient is rounding noise Adam scales the noise
    assert ((one - other).abs() < 5e-4).float().mean() > 0.9
