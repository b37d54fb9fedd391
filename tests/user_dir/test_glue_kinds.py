"""The two GLUE tasks that are unlike the others: MNLI's two dev sets, STS-B's numbers."""

from __future__ import annotations

import json
import logging
import os
import shutil

import pytest

from fairseq_dwt.glue.predictions import DevPredictions


def validation(caplog):
    return next(json.loads(r.message) for r in caplog.records if r.name == "valid")


def test_mnli_is_scored_over_matched_and_mismatched_together(train, small, tmp_path, caplog):
    data = str(tmp_path / "MNLI")
    shutil.copytree(small.data, data)
    for name in ("input0", "input1", "label"):
        for kind in ("bin", "idx"):
            # as mismatched: the training set, 96 rows beside the 16 of valid
            shutil.copy(f"{data}/{name}/train.{kind}", f"{data}/{name}/valid1.{kind}")
    caplog.set_level(logging.INFO)
    folder = train("full_mnli", f"task.data={data}", "common.log_format=json")
    assert "Loaded valid with #samples: 112" in caplog.text
    kept = DevPredictions.load(f"{folder}/predictions.tsv")
    assert len(kept.rows) == 112
    score = float(validation(caplog)["valid_accuracy"])
    assert round(kept.percent(["accuracy"])["accuracy"], 1) == score


def test_sts_b_is_regression_scored_by_correlations(train, small, tmp_path, caplog):
    data = str(tmp_path / "STS-B")
    shutil.copytree(small.data, data)
    shutil.rmtree(f"{data}/label")
    os.makedirs(f"{data}/label")
    for split, rows in (("train", 96), ("valid", 16)):
        with open(f"{data}/label/{split}.label", "w") as file:
            file.writelines(f"{i / rows:g}\n" for i in range(rows))
    caplog.set_level(logging.INFO)
    folder = train(
        "ticket_sts_b",
        f"task.data={data}",
        "task.num_classes=1",
        "optimizer.ticket=random",
        "common.log_format=json",
    )
    stats = validation(caplog)
    assert {"valid_pearson", "valid_spearman"} <= set(stats)
    assert "valid_accuracy" not in stats
    assert -100 <= float(stats["valid_pearson"]) <= 100
    assert float(stats["valid_loss"]) < 20
    assert os.path.isfile(f"{folder}/checkpoint_best.pt")


@pytest.mark.parametrize("metric", ["mcc", "f1"])
def test_scores_equal_scikit_learns(metric, train, small, caplog, monkeypatch):
    """What is logged is scikit-learn's score of what the head predicts for the whole dev set."""
    from sklearn.metrics import f1_score, matthews_corrcoef

    from fairseq_dwt.glue.dev_scores import DevScores

    seen = []
    add = DevScores.add

    def spy(self, ids, predictions, targets):
        seen.append((predictions.tolist(), targets.view(-1).tolist()))
        add(self, ids, predictions, targets)

    monkeypatch.setattr(DevScores, "add", spy)
    caplog.set_level(logging.INFO)
    train(
        "full_rte",
        f"task.metrics={metric}",
        "common.log_format=json",
        "dataset.batch_size=5",
        "optimization.max_epoch=1",
        "optimization.max_update=4",
        "optimization.lr=[0.05]",
    )
    predictions = [p for batch, _ in seen for p in batch]
    targets = [t for _, batch in seen for t in batch]
    assert len(targets) == 16
    # label "1" was added to the dictionary first or second, by frequency
    from fairseq.data import Dictionary

    labels = Dictionary.load(f"{small.data}/label/dict.txt")
    positive = labels.index("1") - labels.nspecial
    expected = (
        matthews_corrcoef(targets, predictions)
        if metric == "mcc"
        else f1_score(targets, predictions, pos_label=positive, zero_division=0)
    )
    assert float(validation(caplog)[f"valid_{metric}"]) == pytest.approx(100 * expected, abs=0.006)
