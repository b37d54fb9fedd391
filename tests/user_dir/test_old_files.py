"""Files of 0.1.0 load, resume and give the same numbers: tests/data/runs_of_0.1.tar.gz.

In it are the tiny RoBERTa and its data (``tests/conftest.py``), six updates of ``dwt_rte`` with
``task.sigma=1e-3 task.save_sigma_mask=true``, six of ``ticket_rte`` inside that ticket with ``k=2``,
both with a checkpoint at the fourth, and the delta of the latter.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from fairseq_dwt.checkpoint import Pretrained, Tuned, load_checkpoint
from fairseq_dwt.cli import main
from fairseq_dwt.delta import Delta
from fairseq_dwt.ticket import ElementMask, Ticket
from tests.processes import COMMON, HYDRA_TRAIN, python

RUNS = Path(__file__).resolve().parents[1] / "data" / "runs_of_0.1.tar.gz"
SETTINGS = {
    "stage_1": ["dwt_rte", "task.sigma=1e-3", "task.save_sigma_mask=true"],
    "stage_2": ["ticket_rte", "optimizer.ticket=stage_1/ticket.json", "optimizer.k=2"],
}


@pytest.fixture
def old(tmp_path, monkeypatch) -> Path:
    with tarfile.open(RUNS) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tickets_masks_and_deltas_load(old):
    ticket, used = (Ticket.load(f"stage_{stage}/ticket.json") for stage in (1, 2))
    assert ticket.origin.base == Pretrained("model.pt").fingerprint
    assert used.digest() == ticket.top(2).digest()
    assert used.num_parameters == 224
    mask = ElementMask.load("stage_1/sigma_mask.safetensors")
    assert mask.num_parameters == sum(sum(e.counts) for e in ticket.matrices.values())
    delta = Delta.load("rte.delta.safetensors")
    assert (delta.labels, delta.num_classes) == (("0", "1"), 2)
    tuned = Tuned("stage_2/checkpoint_last.pt")
    for name, part in delta.parts.items():
        assert torch.equal(part.read(tuned.tensors[name]), delta.values[name])


def test_commands_give_what_they_gave(old):
    init = ["--init", "model.pt", "--tuned"]
    extract = ["extract", *init, "stage_1/checkpoint_last.pt", "--sigma", "1e-3"]
    assert main([*extract, "--mask", "mask.safetensors", "-o", "ticket.json"]) == 0
    assert Ticket.load("ticket.json").matrices == Ticket.load("stage_1/ticket.json").matrices
    masks = [ElementMask.load(p) for p in ("mask.safetensors", "stage_1/sigma_mask.safetensors")]
    assert masks[0].digest() == masks[1].digest()
    verify = ["verify", *init, "stage_2/checkpoint_last.pt", "--ticket", "stage_2/ticket.json"]
    assert main(verify) == 0
    assert (
        main(["apply", "--init", "model.pt", "--delta", "rte.delta.safetensors", "-o", "m.pt"]) == 0
    )
    merged = load_checkpoint("m.pt")["model"]
    trained = load_checkpoint("stage_2/checkpoint_last.pt")["model"]
    assert all(torch.equal(tensor, trained[name]) for name, tensor in merged.items())


def test_the_report_reads_them(old):
    assert main(["report", "stage_1", "stage_2", "-o", "report"]) == 0
    data = json.loads((old / "report" / "report.json").read_text())
    (score,) = data["scores"]
    assert (score["method"], score["trained"], score["from_log"]) == ("Dominant-2", 224, False)
    assert len(data["runs"]) == 2 and all(run["finished"] for run in data["runs"])


@pytest.mark.parametrize("stage", SETTINGS)
def test_a_run_goes_on(stage, old):
    """From its fourth update to what it ended with."""
    folder = old / "again"
    shutil.copytree(old / stage, folder)
    shutil.move(folder / "checkpoint_1_4.pt", folder / "checkpoint_last.pt")
    (folder / "ticket.json").unlink()
    log = python(
        *HYDRA_TRAIN, "--config-name", *SETTINGS[stage], *COMMON, "common.cpu=true",
        "checkpoint.save_interval_updates=4", f"hydra.run.dir={folder}", cwd=old,
    )  # fmt: skip
    assert "num_updates 4" in log or "@ 4 updates" in log, log[-3000:]
    now, then = (load_checkpoint(f"{f}/checkpoint_last.pt") for f in (folder, old / stage))
    # fairseq 0.12.2 saves copies of a layer's weights too
    assert now["model"].keys() >= then["model"].keys()
    for name, tensor in then["model"].items():
        torch.testing.assert_close(now["model"][name], tensor, atol=1e-6, rtol=0)
    assert (folder / "ticket.json").read_text() == (old / stage / "ticket.json").read_text()
