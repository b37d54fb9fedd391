from __future__ import annotations

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
