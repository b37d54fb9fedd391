"""What a run keeps of its best validation is what its best checkpoint predicts."""

from __future__ import annotations

import json
import os
import re

import pytest
import torch

from fairseq_dwt.checkpoint import load_checkpoint
from fairseq_dwt.glue.predictions import DevPredictions

LONG = ["optimization.max_update=60", "optimization.lr=[0.003]", "common.log_format=json"]


def test_kept_predictions_are_those_of_the_best_checkpoint(train, ticket, small, caplog):
    caplog.set_level("INFO")
    folder = train("ticket_rte", f"optimizer.ticket={ticket}", *LONG)
    kept = DevPredictions.load(f"{folder}/predictions.tsv")
    best = load_checkpoint(f"{folder}/checkpoint_best.pt")
    assert kept.update == best["optimizer_history"][-1]["num_updates"]
    assert kept.score == pytest.approx(best["extra_state"]["best"])
    assert len(kept.rows) == 16
    assert round(kept.percent(["accuracy"])["accuracy"], 1) == round(kept.score, 1)
    # recomputed by stock fairseq from the checkpoint
    assert kept.rows == predicted(f"{folder}/checkpoint_best.pt", small.data)
    scores = [json.loads(m.group(1)) for m in re.finditer(r"(\{.*valid_accuracy.*\})", caplog.text)]
    assert max(float(stats["valid_accuracy"]) for stats in scores) == pytest.approx(kept.score)


def predicted(checkpoint, data):
    """{row: (class, target)} by fairseq's own model."""
    from fairseq import checkpoint_utils, utils

    models, cfg, task = checkpoint_utils.load_model_ensemble_and_task(
        [checkpoint], arg_overrides={"data": data}
    )
    model = models[0].eval()
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    rows = {}
    for row in range(len(dataset)):
        sample = dataset.collater([dataset[row]])
        with torch.no_grad():
            logits, _ = model(
                **sample["net_input"], features_only=True,
                classification_head_name="sentence_classification_head",
            )  # fmt: skip
        rows[row] = (float(logits.argmax()), float(sample["target"].view(-1)[0]))
    assert utils.has_parameters(model)
    return rows


@pytest.mark.parametrize("stop", [12, 36])
def test_a_resumed_run_keeps_what_an_uninterrupted_one_keeps(train, ticket, tmp_path, stop):
    given = [f"optimizer.ticket={ticket}", *LONG]
    whole = train("ticket_rte", *given, folder=tmp_path / "whole")
    total = "lr_scheduler.total_num_update=60"
    train("ticket_rte", *given, f"optimization.max_update={stop}", total, folder=tmp_path / "b")
    before = os.stat(tmp_path / "b" / "predictions.tsv").st_mtime_ns
    resumed = train("ticket_rte", *given, folder=tmp_path / "b")
    kept = [DevPredictions.load(f"{folder}/predictions.tsv") for folder in (whole, resumed)]
    assert kept[0] == kept[1]
    if kept[0].update <= stop:
        assert os.stat(tmp_path / "b" / "predictions.tsv").st_mtime_ns == before


def test_a_worse_validation_does_not_replace_what_is_kept(tmp_path):
    """As fairseq judges: the better one, of equals the later one; after a restart too."""
    from types import SimpleNamespace

    from fairseq_dwt.tasks._scored import ScoredTask

    def task():
        task = ScoredTask.__new__(ScoredTask)
        task.root = SimpleNamespace(
            checkpoint=SimpleNamespace(
                best_checkpoint_metric="accuracy", maximize_best_checkpoint_metric=True,
                save_dir=str(tmp_path), restore_file="checkpoint_last.pt",
            ),
            distributed_training=SimpleNamespace(distributed_rank=0),
        )  # fmt: skip
        task._dev_scores = SimpleNamespace(rows=lambda: {0: (1.0, 1.0)}, positive=1)
        return task

    def kept(task, score, update):
        task._keep_predictions({"accuracy": score, "num_updates": update})
        return DevPredictions.load(str(tmp_path / "predictions.tsv")).update

    first = task()
    assert [kept(first, *at) for at in ((70, 1), (60, 2), (70, 3), (80, 4), (79, 5))] == [
        1,
        1,
        3,
        4,
        4,
    ]
    (tmp_path / "checkpoint_last.pt").touch()
    again = task()
    assert [kept(again, *at) for at in ((79, 6), (81, 7))] == [4, 7]
