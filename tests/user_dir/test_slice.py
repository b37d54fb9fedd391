"""A moving slice by the real commands: resumed, verified, exported; what it refuses."""

from __future__ import annotations

import shutil

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import load_checkpoint
from fairseq_dwt.cli import main
from fairseq_dwt.delta import Delta
from fairseq_dwt.delta.verify import moved_outside
from fairseq_dwt.find.methods import label_of
from fairseq_dwt.model.roberta import is_copy
from fairseq_dwt.ticket import Ticket

SLICE = ["optimizer.ticket=slice", "optimizer.move_every=2", "checkpoint.save_interval_updates=3"]


@pytest.fixture
def run(train, tmp_path):
    return train("ticket_rte", *SLICE, folder=tmp_path / "whole")


def test_a_run_resumes_where_it_was(run, train, tmp_path):
    """Three moves, of which the second comes after the checkpoint."""
    (tmp_path / "killed").mkdir()
    shutil.copy(f"{run}/checkpoint_1_3.pt", tmp_path / "killed" / "checkpoint_last.pt")
    other = train("ticket_rte", *SLICE, folder=tmp_path / "killed")
    one, again = (load_checkpoint(f"{f}/checkpoint_last.pt") for f in (run, other))
    for name, tensor in one["model"].items():
        # fairseq 0.12.2 saves copies of a layer's weights too, which a resumed run fills anew
        assert is_copy(name) or torch.equal(again["model"][name], tensor), name
    for name in ("ticket.json", "slices.json"):
        assert Ticket.load(f"{run}/{name}").digest() == Ticket.load(f"{other}/{name}").digest()


def test_all_slices_and_nothing_else_have_moved(run, pretrained, small, tmp_path, capsys):
    tuned = f"{run}/checkpoint_last.pt"
    ticket, slices = (Ticket.load(f"{run}/{name}.json") for name in ("ticket", "slices"))
    assert ticket.k == 1 and slices.k > 1
    assert moved_outside(pretrained, tuned, ticket) != []
    assert moved_outside(pretrained, tuned, slices) == []
    assert label_of(ticket) == "Slice-1"
    delta = str(tmp_path / "rte.delta.safetensors")
    given = ["export", "--init", small.init, "--tuned", tuned, "--data", small.data, "-o", delta]
    assert main(given) == 0
    out = str(tmp_path / "merged.pt")
    assert main(["apply", "--init", small.init, "--delta", delta, "-o", out]) == 0
    assert moved_outside(pretrained, out, slices) == []


@pytest.mark.parametrize(
    "settings, told",
    [
        (["optimizer.move_every=null"], "move_every: expected a number of updates"),
        (["optimizer.ticket=random"], "expected a number of updates with the ticket slice"),
        (["optimizer.move_every=0"], "move_every: expected a number of updates, 1 or more"),
        (["optimizer.mode=masked"], "move_every: only compact training moves"),
        (["ema.store_ema=true"], "move_every: expected no EMA"),
        (["optimizer.k=null"], "k: slice needs k"),
    ],
)
def test_what_cannot_move(settings, told, train):
    with pytest.raises(DwtError, match=told):
        train("ticket_rte", *SLICE, *settings)


def test_another_pace_is_another_run(run, train):
    with pytest.raises(DwtError, match="expected optimizer.move_every 2 of the run"):
        train("ticket_rte", *SLICE, "optimizer.move_every=3", folder=run)


def test_the_next_run_in_a_folder_is_exported_by_its_own_ticket(run, train, small, tmp_path):
    folder = tmp_path / "whole"
    for path in [*folder.glob("*.pt"), folder / "predictions.tsv"]:
        path.unlink()
    train("ticket_rte", "optimizer.ticket=random", folder=run)
    delta, tuned = str(tmp_path / "rte.delta.safetensors"), f"{run}/checkpoint_last.pt"
    given = ["export", "--init", small.init, "--tuned", tuned, "--data", small.data, "-o", delta]
    assert main(given) == 0
    assert Delta.load(delta).ticket.origin.method == "random"


def test_a_slices_file_moves_too_or_not_at_all(run, train, tmp_path):
    file = f"optimizer.ticket={run}/ticket.json"
    with pytest.raises(DwtError, match="got None with slice"):
        train("ticket_rte", file, folder=tmp_path / "still")
    again = train("ticket_rte", *SLICE, file, folder=tmp_path / "again")
    one, other = (Ticket.load(f"{folder}/slices.json") for folder in (run, again))
    assert one.digest() == other.digest()
