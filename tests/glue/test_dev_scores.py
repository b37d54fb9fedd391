from __future__ import annotations

import socket

import torch

from fairseq_dwt.glue.dev_scores import DevScores


def test_scores_are_of_the_whole_set_not_means_of_batches():
    dev = DevScores(["mcc", "f1"], positive=1)
    dev.add(torch.tensor([0, 1]), torch.tensor([1, 1]), torch.tensor([1, 1]))
    dev.add(torch.tensor([2, 3]), torch.tensor([0, 1]), torch.tensor([[0], [0]]))
    # tp 2, tn 1, fp 1, fn 0
    assert dev.percent("mcc") == 57.74
    assert dev.percent("f1") == 80.0


def test_a_row_counts_once():
    dev = DevScores(["accuracy"], positive=1)
    dev.add(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([1, 1]))
    dev.add(torch.tensor([0, 0]), torch.tensor([1, 1]), torch.tensor([1, 1]))
    assert dev.percent("accuracy") == 50.0


def test_a_finished_set_stays_readable_until_the_next_begins():
    dev = DevScores(["accuracy"], positive=1)
    dev.add(torch.tensor([0]), torch.tensor([1]), torch.tensor([1]))
    dev.finish()
    assert dev.percent("accuracy") == 100.0
    dev.add(torch.tensor([5]), torch.tensor([1]), torch.tensor([0]))
    assert dev.percent("accuracy") == 0.0


def _worker(rank, port, result):
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://localhost:{port}", rank=rank, world_size=2
    )
    rows = torch.arange(7)
    predictions, targets = torch.tensor([1, 1, 0, 1, 0, 1, 1]), torch.tensor([1, 1, 0, 0, 1, 1, 1])
    mine = rows[rank::2]
    dev = DevScores(["mcc"], positive=1)
    dev.add(mine, predictions[mine], targets[mine])
    # the filler of an uneven last step: row 0 again, on the worker that has run out
    dev.add(rows[:1], predictions[:1], targets[:1])
    result[rank] = dev.percent("mcc")
    torch.distributed.destroy_process_group()


def test_two_workers_score_the_rows_of_both_once():
    from sklearn.metrics import matthews_corrcoef

    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    result = torch.zeros(2, dtype=torch.float64).share_memory_()
    torch.multiprocessing.spawn(_worker, (port, result), nprocs=2)
    expected = round(100 * matthews_corrcoef([1, 1, 0, 0, 1, 1, 1], [1, 1, 0, 1, 0, 1, 1]), 2)
    assert expected != 0
    assert result.tolist() == [expected, expected]
