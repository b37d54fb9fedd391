"""``task.batch_by_length``: the same rows, in batches of similar length."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from fairseq_dwt.checkpoint import Tuned, load_checkpoint
from fairseq_dwt.tasks.ticket_finetune import TicketFinetuneTask

COMMAND = ["ticket_rte", "optimizer.ticket=random", "optimizer.k=2", "dataset.batch_size=8"]


def batches_of(train, monkeypatch, folder, *settings):
    """Row ids and lengths of the batches that a run of two epochs trains on."""
    seen = []
    train_step = TicketFinetuneTask.train_step

    def spy(self, sample, *args, **kwargs):
        seen.append((sample["id"].view(-1).tolist(), sample["net_input"]["src_lengths"].tolist()))
        return train_step(self, sample, *args, **kwargs)

    monkeypatch.setattr(TicketFinetuneTask, "train_step", spy)
    run = train(*COMMAND, "optimization.max_update=24", *settings, folder=folder)
    monkeypatch.undo()
    return run, seen


def padded(batches):
    computed = sum(max(lengths) * len(lengths) for _, lengths in batches)
    return 1 - sum(sum(lengths) for _, lengths in batches) / computed


def test_batches_are_of_similar_length_and_hold_every_row(train, tmp_path, monkeypatch):
    _, random = batches_of(train, monkeypatch, tmp_path / "random")
    run, sorted_ = batches_of(train, monkeypatch, tmp_path / "one", "task.batch_by_length=true")
    for batches in (random, sorted_):
        assert len(batches) == 24  # two epochs of 12
        for epoch in (batches[:12], batches[12:]):
            assert sorted(row for rows, _ in epoch for row in rows) == list(range(96))
    assert padded(sorted_) < 0.05 < padded(random)
    # batches are not in order of their length, and other rows come together in each epoch
    longest = [max(lengths) for _, lengths in sorted_]
    assert longest[:12] != sorted(longest[:12])
    assert {frozenset(rows) for rows, _ in sorted_[:12]}.isdisjoint(
        frozenset(rows) for rows, _ in sorted_[12:]
    )
    # the same seed, the same run
    again, _ = batches_of(train, monkeypatch, tmp_path / "two", "task.batch_by_length=true")
    a, b = (load_checkpoint(f"{folder}/checkpoint_last.pt")["model"] for folder in (run, again))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_stopped_within_an_epoch_goes_on_with_its_batches(train, tmp_path):
    settings = [*COMMAND, "optimization.max_update=24", "task.batch_by_length=true"]
    whole = train(*settings, "checkpoint.save_interval_updates=15")
    (tmp_path / "rest").mkdir()
    (kept,) = Path(whole).glob("checkpoint_*_15.pt")
    shutil.copyfile(kept, tmp_path / "rest" / "checkpoint_last.pt")
    rest = train(*settings, folder=tmp_path / "rest")
    a, b = (Tuned(f"{folder}/checkpoint_last.pt").tensors for folder in (whole, rest))
    assert all(torch.equal(a[name], b[name]) for name in a)
