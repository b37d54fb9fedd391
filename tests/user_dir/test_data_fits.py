"""Data that do not fit the settings are one sentence before training, and nothing is written."""

from __future__ import annotations

import os
import shutil

import pytest
from fairseq.data import Dictionary, data_utils, indexed_dataset

from fairseq_dwt.checkpoint import Tuned
from fairseq_dwt.cli import main
from fairseq_dwt.delta import Delta
from fairseq_dwt.errors import DwtError
from fairseq_dwt.glue.predictions import DevPredictions
from tests.conftest import WORDS

BITFIT = ["optimizer.ticket=bitfit", "optimizer.k=null"]
TRUNCATE = "+task.shorten_method=truncate"
SKIP = "dataset.skip_invalid_size_inputs_valid_test=true"


@pytest.fixture
def data(small, tmp_path):
    """A copy of the data that a test may spoil: its path."""
    return shutil.copytree(small.data, str(tmp_path / "spoiled" / "RTE"))


def change(data, name, split, edit):
    """Write a split anew: ``edit`` gets and gives the list of its rows, int64 tensors."""
    prefix = os.path.join(data, name, split)
    dictionary = Dictionary.load(os.path.join(data, name, "dict.txt"))
    stored = data_utils.load_indexed_dataset(prefix, dictionary)
    rows = [stored[i].long().clone() for i in range(len(stored))]
    builder = indexed_dataset.make_builder(prefix + ".bin", "mmap", vocab_size=60)
    for row in edit(rows):
        builder.add_item(row)
    builder.finalize(prefix + ".idx")


def lengthen(rows):
    """The third row becomes one of 31 tokens; the model has 20 positions."""
    rows[2] = rows[2][:1].repeat(30).tolist() + [2]
    import torch

    rows[2] = torch.tensor(rows[2])
    return rows


def numbers(data, lines=(("train", 96), ("valid", 16)), value="0.5"):
    shutil.rmtree(f"{data}/label")
    os.makedirs(f"{data}/label")
    for split, rows in lines:
        with open(f"{data}/label/{split}.label", "w") as file:
            file.writelines(f"{value}\n" for _ in range(rows))


def other_words(data, side, words):
    with open(f"{data}/{side}/dict.txt", "w") as file:
        file.writelines(f"{word} 1\n" for word in words)


def unknown_label(rows):
    rows[3][0] = 3
    return rows


CASES = {
    "too few classes": (
        lambda d: None, ["task.num_classes=1"], "task.num_classes: expected 2, .* got 1"
    ),
    "too many classes": (
        lambda d: None, ["task.num_classes=3"], "task.num_classes: expected 2, .* got 3"
    ),
    "numbers for a classifier": (numbers, [], "task.regression_target: expected true"),
    "no labels' dictionary": (
        lambda d: os.remove(f"{d}/label/dict.txt"), [], "label/dict.txt: expected the labels'"
    ),
    "a dev set without labels": (
        lambda d: os.remove(f"{d}/label/valid.idx"), [], "expected a split with labels, got valid"
    ),
    "no such dev set": (
        lambda d: None, ["dataset.valid_subset=test"], "valid_subset: expected .* input0/test"
    ),
    "an unknown label": (
        lambda d: change(d, "label", "valid", unknown_label), [], "label/valid row 4: expected one"
    ),
    "fewer labels than rows": (
        lambda d: change(d, "label", "train", lambda r: r[:-1]), [], "expected 96 labels, got 95"
    ),
    "fewer second sentences": (
        lambda d: change(d, "input1", "valid", lambda r: r[:-1]), [], "expected 16 rows as in"
    ),
    "another model's vocabulary": (
        lambda d: [other_words(d, s, WORDS[:-1]) for s in ("input0", "input1")],
        [],
        "input0/dict.txt: expected 35 entries with <mask>",
    ),
    "two vocabularies": (
        lambda d: other_words(d, "input1", WORDS[::-1]), [], "input0/dict.txt: expected the entries"
    ),
    "a long dev row": (
        lambda d: change(d, "input0", "valid", lengthen),
        [],
        r"got valid, of which 1 of 16 rows are longer than 20 tokens .*\+task.shorten_method="
        "truncate .* dataset.skip_invalid_size_inputs_valid_test=true",
    ),
    "a file that was copied in part": (
        lambda d: os.truncate(f"{d}/input1/train.bin", 6), [], "input1/train.bin: expected .* bytes, got 6"
    ),
    "an index that was copied in part": (
        lambda d: os.truncate(f"{d}/label/valid.idx", 20), [], "valid.idx: expected 26 bytes, got 20"
    ),
    "an index without its last rows": (
        lambda d: os.truncate(f"{d}/label/valid.idx", 100), [], "valid.idx: expected 218 bytes, got 100"
    ),
    "all train rows long": (
        lambda d: None, ["dataset.max_tokens=4"], "96 of 96 rows are longer than 4 tokens"
    ),
}  # fmt: skip


@pytest.mark.parametrize("config", ["ticket_rte", "full_rte", "dwt_rte"])
@pytest.mark.parametrize("case", CASES)
def test_refused_before_training(case, config, train, data, tmp_path):
    spoil, settings, told = CASES[case]
    spoil(data)
    given = BITFIT if config == "ticket_rte" else []
    with pytest.raises(DwtError, match=told):
        train(config, f"task.data={data}", *settings, *given)
    assert not [n for n in os.listdir(tmp_path / "run") if n.startswith(("checkpoint", "ticket"))]


@pytest.mark.parametrize(
    "spoil, told",
    [
        (lambda d: None, "task.regression_target: expected false"),
        (lambda d: numbers(d, [("train", 96)]), "expected a split with labels, got valid"),
        (lambda d: numbers(d, [("train", 95), ("valid", 16)]), "expected 96 numbers, got 95"),
        (lambda d: numbers(d, value="entailment"), "train.label line 1: expected task.num_classes"),
        (lambda d: numbers(d, value="nan"), "train.label line 1: expected task.num_classes"),
        (lambda d: numbers(d, value="1 2"), "train.label line 1: expected task.num_classes"),
    ],
)
def test_refused_for_regression(spoil, told, train, data):
    spoil(data)
    with pytest.raises(DwtError, match=told):
        train("full_sts_b", f"task.data={data}", "task.num_classes=1")


def test_a_vocabulary_beside_the_model_that_is_not_the_datas(train, small, data, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    shutil.copy(small.init, model / "model.pt")
    given = [f"checkpoint.finetune_from_model={model}/model.pt", *BITFIT]
    other_words(str(tmp_path), "model", WORDS)
    train("ticket_rte", *given, "optimization.max_update=1")
    other_words(str(tmp_path), "model", WORDS[::-1])
    with pytest.raises(DwtError, match="expected the entries of .*model/dict.txt in their order"):
        train("ticket_rte", *given, folder=tmp_path / "other")


def test_long_train_rows_are_told(train, data, caplog):
    change(data, "input1", "train", lengthen)
    train("ticket_rte", f"task.data={data}", *BITFIT, "optimization.max_update=1")
    assert "train: 1 of 96 rows are longer than 20 tokens and are left out" in caplog.text


@pytest.mark.parametrize("setting", [TRUNCATE, SKIP])
def test_evaluate_and_predict_treat_a_long_row_as_the_run(setting, train, small, data, tmp_path,
                                                          capsys, caplog):  # fmt: skip
    change(data, "input0", "valid", lengthen)
    given = [f"task.data={data}", *BITFIT, "optimization.max_update=9"]
    folder = train("ticket_rte", *given, setting)
    kept = DevPredictions.load(f"{folder}/predictions.tsv")
    assert len(kept.rows) == (16 if setting == TRUNCATE else 15)
    best, delta = f"{folder}/checkpoint_best.pt", str(tmp_path / "d.safetensors")
    capsys.readouterr()
    assert main(["evaluate", best, "--task", "mrpc", "--data", data]) == 0
    percent = kept.percent(["accuracy", "f1"])
    assert f"accuracy {percent['accuracy']:.2f}  f1 {percent['f1']:.2f}" in capsys.readouterr().out
    assert ("1 of 16 rows are longer" in caplog.text) == (setting == SKIP)
    assert main(["export", "--init", small.init, "--tuned", best, "-o", delta]) == 0
    how = Delta.load(delta).settings.get("shorten_method")
    assert how == ("truncate" if setting == TRUNCATE else "none")
    assert Delta.load(delta).sentences == Tuned(best).sentences == 2

    from fairseq_dwt.checkpoint import Pretrained
    from fairseq_dwt.serving.predict import Predictor

    words = f"{data}/input0/dict.txt"
    predictor = Predictor(Pretrained(small.init), list, words)
    (ids,) = predictor.tokens(Delta.load(delta), [(" ".join(WORDS[:1] * 30), "w1")])
    assert len(ids) == 20
    # fairseq's TruncateDataset cuts the end mark off too
    assert (int(ids[-1]) == 2) == (setting == SKIP)
    assert ("1 of 1 examples are longer than 20" in caplog.text) == (setting == SKIP)
    with pytest.raises(DwtError, match="example 1: expected 2 sentences"):
        predictor.tokens(Delta.load(delta), [("w1",)])


def test_evaluate_refuses_a_row_that_the_run_would(train, data, capsys):
    folder = train("ticket_rte", f"task.data={data}", *BITFIT, "optimization.max_update=1")
    change(data, "input0", "valid", lengthen)
    best = f"{folder}/checkpoint_best.pt"
    assert main(["evaluate", best, "--task", "mrpc", "--data", data]) == 2
    error = capsys.readouterr().err
    assert "1 of 16 rows are longer than 20 tokens" in error and "shorten_method" in error


def test_folders_of_fairseqs_recipe(train, data, small, tmp_path, monkeypatch, capsys):
    from fairseq_dwt.ticket import Ticket

    folder = str(tmp_path / "MRPC-bin")
    os.rename(data, folder)
    run = train("dwt_rte", f"task.data={folder}", "optimization.max_update=1")
    assert Ticket.load(f"{run}/ticket.json").origin.task == "MRPC"
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", f"{run}/checkpoint_best.pt", "--task", "MRPC-bin"]) == 0
    assert "MRPC valid: accuracy" in capsys.readouterr().out
