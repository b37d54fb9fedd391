"""The GLUE server's zip: its files, headers, rows and ranges."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import Pretrained, Tuned
from fairseq_dwt.cli import main
from fairseq_dwt.delta import export
from fairseq_dwt.find.controls import random_columns
from fairseq_dwt.glue.submission import FILES, text_of, write_submission
from fairseq_dwt.glue.submission import test_sets as sets_of
from fairseq_dwt.glue.suite import TASKS
from fairseq_dwt.serving.predict import Predictor
from fairseq_dwt.ticket import origin_of
from tests.conftest import WORDS, fine_tuned
from tests.glue.fixture_data import write_task

ROWS = 7


@pytest.fixture(scope="module")
def glue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glue")
    for task in TASKS.values():
        write_task(folder / task.folder, task, ROWS)
    (folder / "diagnostic").mkdir()
    rows = [f"{i}\tA dog {i}.\tA cat." for i in range(5)]
    text = "\n".join(["index\tsentence1\tsentence2", *rows]) + "\n"
    (folder / "diagnostic" / "diagnostic.tsv").write_text(text)
    return folder


@pytest.fixture(scope="module")
def deltas(small, tmp_path_factory):
    """A delta of every task, of a random ticket."""
    folder, pretrained = tmp_path_factory.mktemp("deltas"), Pretrained(small.init)
    ticket = random_columns(pretrained.matrices, 2, 1, origin_of("random", pretrained, seed=1))
    paths = []
    for seed, task in enumerate(TASKS.values()):
        tuned = fine_tuned(
            pretrained, ticket, folder / "tuned.pt", seed=seed, classes=task.num_classes
        )
        checkpoint = Tuned(tuned)
        checkpoint.settings["regression_target"] = task.regression
        delta = export(pretrained, checkpoint, ticket, list(task.labels), task.folder)
        paths.append(str(folder / f"{task.name}.safetensors"))
        delta.save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def words(tmp_path_factory, small):
    vocabulary = tmp_path_factory.mktemp("words") / "vocab.txt"
    vocabulary.write_text("\n".join(["[UNK]", "[CLS]", "[SEP]", *WORDS]))
    tokens = ["--bpe", "bert", "--vocab-file", str(vocabulary)]
    return [*tokens, "--dict", f"{small.data}/input0/dict.txt"]


def submit(small, words, glue, deltas, output):
    command = ["predict", "--init", small.init, "--glue-test", str(glue), *words]
    return main([*command, "--delta", *deltas, "-o", str(output)])


def read(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_every_task(small, words, glue, deltas, tmp_path, capsys):
    assert submit(small, words, glue, deltas, tmp_path / "s.zip") == 0
    assert "also wants" not in capsys.readouterr().out
    found = read(tmp_path / "s.zip")
    assert sorted(found) == sorted(FILES)
    labels = {"AX.tsv": "mnli", "MNLI-m.tsv": "mnli", "MNLI-mm.tsv": "mnli"}
    labels.update({f"{task.folder}.tsv": name for name, task in TASKS.items()})
    for name, text in found.items():
        header, *rows = text.splitlines()
        assert text.endswith("\n") and header == "index\tprediction"
        number = {"WNLI.tsv": 146, "AX.tsv": 5}.get(name, ROWS)
        assert [row.split("\t")[0] for row in rows] == [str(i) for i in range(number)], name
        predictions = {row.split("\t")[1] for row in rows}
        if name == "STS-B.tsv":
            assert all(0 <= float(p) <= 5 and len(p) == 5 for p in predictions)
        else:
            assert predictions <= {"0"} if name == "WNLI.tsv" else set(TASKS[labels[name]].labels)


def test_predictions_are_those_of_predict(small, words, glue, deltas, tmp_path):
    """Rows in the test file's order, whatever the batches."""
    one = [path for path in deltas if "qnli" in path]
    assert submit(small, words, glue, one, tmp_path / "s.zip") == 0
    ((_, examples),) = sets_of(TASKS["qnli"], glue)
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join("\t".join(example) + "\n" for example in examples))
    told = ["predict", "--init", small.init, "--delta", *one, "--task", "qnli", *words]
    assert main([*told, "--input", str(pairs), "-o", f"{tmp_path}/o", "--batch-size", "1"]) == 0
    expected = Path(f"{tmp_path}/o").read_text().split()
    rows = read(tmp_path / "s.zip")["QNLI.tsv"].splitlines()[1:]
    assert [row.split("\t")[1] for row in rows] == expected


def test_what_is_missing_is_named(small, words, glue, deltas, tmp_path, capsys):
    some = [path for path in deltas if "cola" in path or "rte" in path]
    assert submit(small, words, glue, some, tmp_path / "s.zip") == 0
    assert sorted(read(tmp_path / "s.zip")) == ["CoLA.tsv", "RTE.tsv", "WNLI.tsv"]
    assert "the server also wants AX.tsv, MNLI-m.tsv" in capsys.readouterr().out


@pytest.mark.parametrize("wrong, told", [
    (lambda d: [d[0], d[0]], "expected one delta of MNLI, got two"),
    (lambda d: ["none.safetensors"], "none.safetensors"),
])  # fmt: skip
def test_wrong_deltas(wrong, told, small, words, glue, deltas, tmp_path, capsys):
    assert submit(small, words, glue, wrong(deltas), tmp_path / "s.zip") == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "s.zip").exists()


def test_an_option_that_would_be_ignored_is_refused(small, words, glue, deltas, tmp_path, capsys):
    assert submit(small, [*words, "--scores"], glue, deltas[:1], tmp_path / "s.zip") == 2
    assert "--scores: expected none with --glue-test" in capsys.readouterr().err


def test_a_full_device_is_not_a_full_disk(
    small, words, glue, deltas, tmp_path, capsys, monkeypatch
):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(Predictor, "__call__", full)
    assert submit(small, words, glue, deltas[:1], tmp_path / "s.zip") == 2
    told = capsys.readouterr().err
    assert "Tried to allocate 20.00 GiB); use a smaller --batch-size" in told
    assert not list(tmp_path.iterdir())


def test_sts_b_stays_in_its_range_and_labels_are_the_tasks():
    text = text_of(TASKS["sts_b"], [-0.2, 5.3, 3.14159])
    assert text == "index\tprediction\n0\t0.000\n1\t5.000\n2\t3.142\n"
    with pytest.raises(DwtError, match="expected predictions among entailment"):
        text_of(TASKS["rte"], ["l0"])


def test_an_empty_submission_is_told_of_everything(tmp_path):
    assert write_submission(str(tmp_path / "s.zip"), {}) == [f for f in FILES if f != "WNLI.tsv"]
