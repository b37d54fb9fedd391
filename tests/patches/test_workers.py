"""What a spawned worker fails of is told by the process that spawned it."""

from types import SimpleNamespace

import pytest
import torch.multiprocessing
from fairseq.distributed import utils

import fairseq_dwt

FAILURES = {
    "the user's": fairseq_dwt.DwtError("x.pt: expected a ticket file,\nfound none"),
    "another": ValueError("x.pt: expected a ticket file"),
}


def fail(rank, kind):
    raise FAILURES[kind]


@pytest.fixture
def spawn(monkeypatch):
    """``spawn(kind)``: fairseq's launch of two workers that fail."""
    fairseq_dwt.register()
    stock = torch.multiprocessing.spawn
    cfg = SimpleNamespace(distributed_training=SimpleNamespace(
        distributed_init_method="tcp://", distributed_no_spawn=False, distributed_rank=0,
        distributed_world_size=2,
    ))  # fmt: skip

    def launch(kind):
        monkeypatch.setattr(
            torch.multiprocessing, "spawn", lambda **_: stock(fail, (kind,), nprocs=2)
        )
        utils.call_main(cfg, None)

    return launch


def test_an_error_of_the_users_is_the_workers_sentence(spawn):
    with pytest.raises(fairseq_dwt.DwtError) as told:
        spawn("the user's")
    assert str(told.value) == "x.pt: expected a ticket file, found none"


def test_any_other_keeps_its_traceback(spawn, monkeypatch):
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="Traceback"):
        spawn("another")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="Traceback"):
        spawn("the user's")
