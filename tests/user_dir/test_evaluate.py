"""``fairseq-dwt evaluate`` says of a checkpoint what fairseq's validation of it said."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from scipy.stats import pearsonr

from fairseq_dwt.cli import main
from fairseq_dwt.glue.predictions import DevPredictions


def evaluated(capsys, *command):
    capsys.readouterr()
    assert main(["evaluate", *command, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("config", ["ticket_rte", "full_rte", "dwt_rte"])
def test_a_checkpoint_scores_as_in_its_run(config, train, small, tmp_path, capsys):
    more = ["optimizer.ticket=random", "optimizer.k=2"] if config == "ticket_rte" else []
    run = train(config, *more, "optimization.max_update=30", "optimization.lr=[0.03]")
    data = str(tmp_path / "data")
    shutil.copytree(small.data, data)
    for name in ("input0", "input1", "label"):
        for kind in ("bin", "idx"):
            shutil.copy(f"{data}/{name}/train.{kind}", f"{data}/{name}/valid1.{kind}")
    kept = DevPredictions.load(f"{run}/predictions.tsv")
    command = [f"{run}/checkpoint_best.pt", "--task", "mrpc", "--data", data]
    for batch_size in ("1", "7"):
        found = evaluated(capsys, *command, "--batch-size", batch_size)
        assert found["valid"] == pytest.approx(kept.percent(["accuracy", "f1"]))
        assert set(found) == {"valid", "valid1"}
        assert found["valid1"] != found["valid"]
    assert main(["evaluate", *command]) == 0
    told = capsys.readouterr().out
    assert f"MRPC valid: accuracy {found['valid']['accuracy']:.2f}  f1" in told


def test_sts_b(train, small, tmp_path, capsys):
    data = str(tmp_path / "STS-B")
    shutil.copytree(small.data, data)
    shutil.rmtree(f"{data}/label")
    os.makedirs(f"{data}/label")
    for split, rows in (("train", 96), ("valid", 16)):
        with open(f"{data}/label/{split}.label", "w") as file:
            file.writelines(f"{(7 * i % rows) / rows:g}\n" for i in range(rows))
    run = train(
        "ticket_sts_b", f"task.data={data}", "task.num_classes=1", "optimizer.ticket=random"
    )
    found = evaluated(capsys, f"{run}/checkpoint_best.pt", "--task", "sts_b", "--data", data)
    rows = DevPredictions.load(f"{run}/predictions.tsv").rows.values()
    assert found["valid"]["pearson"] == pytest.approx(100 * pearsonr(*zip(*rows))[0], abs=1e-3)


def test_what_is_refused(train, small, tmp_path, capsys):
    run = train("ticket_rte", "optimizer.ticket=random", "optimizer.k=2")
    best = f"{run}/checkpoint_best.pt"
    swapped = str(tmp_path / "swapped")
    shutil.copytree(small.data, swapped)
    with open(f"{swapped}/label/dict.txt") as file:
        first, second, *rest = file.readlines()
    with open(f"{swapped}/label/dict.txt", "w") as file:
        file.writelines([second, first, *rest])
    reordered, larger, single, unlabeled = (
        str(shutil.copytree(small.data, tmp_path / name)) for name in ("re", "large", "one", "no")
    )
    for folder in (reordered, larger):
        with open(f"{folder}/input0/dict.txt") as file:
            words = file.readlines()
        words = [*words, "more 1\n"] if folder == larger else words[::-1]
        for side in ("input0", "input1"):
            with open(f"{folder}/{side}/dict.txt", "w") as file:
                file.writelines(words)
    shutil.rmtree(f"{single}/input1")
    for kind in ("bin", "idx"):
        os.unlink(f"{unlabeled}/label/valid.{kind}")
    partial = str(shutil.copytree(small.data, tmp_path / "part"))
    os.truncate(f"{partial}/input0/valid.bin", 6)
    shutil.copy(best, tmp_path / "moved.pt")  # nothing beside it says what it was trained with
    for command, told in (
        ([best, "--task", "rte", "--data", small.data], "expected the labels of RTE"),
        ([best, "--task", "mrpc", "--data", "nowhere"], "nowhere: expected the data-bin folder"),
        ([best, "--task", "mrpc", "--data", swapped], "in their order"),
        ([best, "--task", "mrpc", "--data", reordered], "expected the dictionary that"),
        ([str(tmp_path / "moved.pt"), "--task", "mrpc", "--data", larger], "entries with <mask>"),
        ([best, "--task", "mrpc", "--data", single], "expected examples of 2 sentences"),
        ([best, "--task", "mrpc", "--data", unlabeled], "expected rows with labels in valid"),
        ([best, "--task", "mrpc", "--data", partial], "valid.bin: expected"),
        ([small.init, "--task", "mrpc", "--data", small.data], "one classification head, got 0"),
        ([best, "--task", "mrpc", "--data", small.data, "--batch-size", "0"], "--batch-size"),
        ([best, "--task", "sts-b", "--data", small.data], "expected a task of classes as"),
        ([best, "--task", "mrpc", "--data", small.data, "--device", "abacus"], "--device"),
    ):
        assert main(["evaluate", *command]) == 2
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1
