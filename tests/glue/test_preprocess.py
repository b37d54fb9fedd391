"""The output is fairseq's own, byte for byte."""

from __future__ import annotations

import pytest

from fairseq_dwt.glue.bpe import Encoder
from fairseq_dwt.glue.indexed import load_dictionary
from fairseq_dwt.glue.suite import TASKS, glue_task
from fairseq_dwt.glue.tsv import read_rows
from tests.glue.conftest import arguments_for
from tests.glue.fairseq_recipe import recipe, tree
from tests.glue.fixture_data import write_task

# Rows of each real file that the reference, which is slow, is run on: the whole of CoLA.
REAL_ROWS = {"CoLA": 10**9, "MNLI": 1500, "MRPC": 1500, "QNLI": 1000, "QQP": 3000, "SST-2": 5000}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_same_bytes_as_fairseq_on_generated_files(
    task, expected, glue_dir, preprocess, bpe_dir, tmp_path
):
    reports = preprocess(task.name, glue_dir)
    wanted = tree(expected / task.folder)
    assert len(wanted) >= 9
    assert tree(tmp_path / "out" / task.folder) == wanted
    # The fixture has unknown tokens and, for QQP, rows to drop: both paths were taken.
    assert reports[0].unknown > 0
    assert [report.dropped > 0 for report in reports[:2]] == [task.name == "qqp"] * 2


def test_same_bytes_as_fairseq_on_real_files(real_dir, command, tmp_path):
    for folder, rows in REAL_ROWS.items():
        (tmp_path / "glue" / folder).mkdir(parents=True)
        for path in (real_dir / "glue" / folder).glob("*.tsv"):
            lines = path.read_bytes().split(b"\n")[:rows]
            target = tmp_path / "glue" / folder / path.name
            target.write_bytes(b"\n".join(lines).rstrip(b"\n") + b"\n")
    bpe, out = real_dir / "bpe", tmp_path / "out"
    wanted = recipe(tmp_path / "glue", list(REAL_ROWS), bpe, tmp_path / "work", tmp_path / "bin")
    assert command(arguments_for(tmp_path / "glue", ["all"], bpe, out)) == 0
    assert tree(out) == tree(wanted)


@pytest.mark.parametrize("name", TASKS)
def test_windows_line_ends_and_byte_order_mark_change_nothing(
    name, one_task, glue_dir, preprocess, tmp_path
):
    folder = glue_task(name).folder
    preprocess(name, glue_dir)
    plain = tree(tmp_path / "out")
    for path in one_task(folder).glob("*.tsv"):
        content = path.read_bytes().replace(b"\n", b"\r\n")
        if not content.startswith(b"\xef\xbb\xbf"):
            content = b"\xef\xbb\xbf" + content
        path.write_bytes(content)
    preprocess(name, overwrite=True)
    assert tree(tmp_path / "out") == plain


def test_last_line_may_lack_its_line_end(one_task, glue_dir, preprocess, tmp_path):
    preprocess("rte", glue_dir)
    plain = tree(tmp_path / "out")
    for path in one_task("RTE").glob("*.tsv"):
        path.write_bytes(path.read_bytes()[:-1])
    preprocess("rte", overwrite=True)
    assert tree(tmp_path / "out") == plain


def test_only_a_line_feed_ends_a_row(tmp_path):
    """Also \\r, at which fairseq's text-mode reading cuts and so shifts all labels behind it."""
    task = glue_task("cola")
    texts = ["a\rb", "a\x0bb\x0cc", "a\u0085b", "a\u2028b\u2029c", '"open quote', "a\x1cb"]
    path = tmp_path / "train.tsv"
    path.write_bytes("".join(f"s\t1\t\t{text}\n" for text in texts).encode())
    rows = read_rows(path, task, task.splits[0])
    assert rows.inputs == [texts]
    assert rows.labels == ["1"] * len(texts)


def test_pieces_with_odd_white_space_are_cut_as_fairseq_cuts_them(
    glue_dir, preprocess, bpe_dir, tmp_path
):
    from fairseq.data import data_utils

    dictionary = load_dictionary(bpe_dir / "dict.txt")
    first, second = dictionary.symbols[4:6]
    lines = [f"{first}\u2028{second}", f"\u00a0{first}", f"{first}\x1f\x1f{second} ?", "<s> <unk>"]
    preprocess(
        "cola",
        glue_dir,
        encode=Encoder(lambda batch: [[i % 4] for i in range(len(batch))], lines),
        dictionary=dictionary,
    )
    written = data_utils.load_indexed_dataset(
        str(tmp_path / "out" / "CoLA" / "input0" / "train"), dictionary
    )
    for number, line in enumerate(lines):
        wanted = dictionary.encode_line(line, add_if_not_exist=False).tolist()
        assert written[number].tolist() == wanted


def test_batches_do_not_show(glue_dir, preprocess, tmp_path, monkeypatch):
    preprocess("mnli", glue_dir)
    whole = tree(tmp_path / "out")
    monkeypatch.setattr("fairseq_dwt.glue.binarize._BATCH", 3)
    preprocess("mnli", glue_dir, overwrite=True)
    assert tree(tmp_path / "out") == whole


def test_report_counts_what_was_written(glue_dir, preprocess, bpe_dir, tmp_path):
    from fairseq.data import data_utils

    reports = preprocess("qqp", glue_dir)
    dictionary = load_dictionary(bpe_dir / "dict.txt")
    assert [report.split for report in reports] == ["train", "valid", "test"]
    for report in reports:
        sides = [
            data_utils.load_indexed_dataset(
                str(tmp_path / "out" / "QQP" / side / report.split), dictionary
            )
            for side in ("input0", "input1")
        ]
        items = [side[i].tolist() for side in sides for i in range(len(side))]
        assert report.rows == len(sides[0]) == len(sides[1])
        assert report.tokens == sum(map(len, items))
        assert report.unknown == sum(item.count(dictionary.unk()) for item in items)
    kept, dropped = reports[0].rows, reports[0].dropped
    source = (glue_dir / "QQP" / "train.tsv").read_bytes()
    assert kept + dropped == source.count(b"\n") - 1
    assert f"QQP train: {kept} sentence pairs, " in str(reports[0])
    assert str(reports[0]).endswith(f"{dropped} rows dropped")


def test_labels_are_numbered_by_frequency(tmp_path, preprocess):
    """Labels in order of frequency, ties by name: the class index is not the label value."""
    task = glue_task("sst_2")
    write_task(tmp_path / "glue" / "SST-2", task)
    path = tmp_path / "glue" / "SST-2" / "train.tsv"
    path.write_bytes(b"sentence\tlabel\ngood\t1\nfine\t1\nbad\t0\n")
    preprocess("sst_2")
    label = (tmp_path / "out" / "SST-2" / "label" / "dict.txt").read_text(encoding="utf-8")
    assert label.split("\n")[:3] == ["1 2", "0 1", "madeupword0000 0"]
    path.write_bytes(b"sentence\tlabel\ngood\t1\nbad\t0\n")
    preprocess("sst_2", overwrite=True)
    label = (tmp_path / "out" / "SST-2" / "label" / "dict.txt").read_text(encoding="utf-8")
    assert label.split("\n")[:2] == ["0 1", "1 1"]
