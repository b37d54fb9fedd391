"""Bad input is refused by file and line, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairseq_dwt.errors import DwtError
from fairseq_dwt.glue.indexed import load_dictionary
from fairseq_dwt.glue.suite import glue_task
from fairseq_dwt.glue.tsv import read_rows
from tests.glue.conftest import assert_nothing_left
from tests.glue.fairseq_recipe import tree


@pytest.mark.parametrize(
    ("name", "file", "split"),
    [
        ("rte", "test.tsv", "test"),
        ("mnli", "dev_mismatched.tsv", "valid1"),
        ("mnli", "test_matched.tsv", "test"),
        ("mnli", "test_mismatched.tsv", "test1"),
    ],
)
def test_optional_files_may_be_absent(name, file, split, one_task, preprocess, tmp_path):
    folder = glue_task(name).folder
    (one_task(folder) / file).unlink()
    notes = []
    reports = preprocess(name, note=notes.append)
    assert len(notes) == 1
    assert file in notes[0] and f"no {split} split" in notes[0]
    assert split not in [report.split for report in reports]
    written = {Path(path).stem for path in tree(tmp_path / "out")}
    assert split not in written and "valid" in written


@pytest.mark.parametrize(
    ("name", "file"), [("rte", "train.tsv"), ("rte", "dev.tsv"), ("mnli", "dev_matched.tsv")]
)
def test_train_and_dev_must_be_there(name, file, one_task, preprocess, tmp_path):
    (one_task(glue_task(name).folder) / file).unlink()
    with pytest.raises(DwtError, match=f"{file}: expected a GLUE file, there is none"):
        preprocess(name)
    assert_nothing_left(tmp_path / "out")


def test_missing_task_folder(preprocess, tmp_path):
    with pytest.raises(DwtError, match=r"glue/RTE: expected the folder with RTE's TSV files"):
        preprocess("rte")
    assert not (tmp_path / "out").exists()


def _replace_line(path: Path, number: int, line: bytes) -> None:
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = line
    path.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize(
    ("name", "file", "number", "line", "message"),
    [
        ("rte", "train.tsv", 7, b"1\ta\tb", r"train.tsv line 7: expected 4 .*sentence1.*got 3"),
        ("rte", "dev.tsv", 3, b"1\ta\tb\tentailment\tx", r"dev.tsv line 3: expected 4 .*got 5"),
        ("rte", "train.tsv", 5, b"", r"train.tsv line 5: expected 4 tab-separated fields"),
        ("qqp", "test.tsv", 4, b"1\ta", r"test.tsv line 4: expected 3 tab-separated fields"),
        ("rte", "train.tsv", 9, b"1\ta\tb\tneutral", r"line 9: .*one of entailment, not_.*'neutral'"),
        ("mnli", "dev_matched.tsv", 2, b"\t".join([b"x"] * 15 + [b"-"]), r"column 16 .*got '-'"),
        ("cola", "dev.tsv", 1, b"source\tlabel\t\tsentence", r"dev.tsv line 1: .*one of 0, 1 .*'label'"),
        ("sts_b", "train.tsv", 2, b"\t".join([b"x"] * 9 + [b"5.1"]), r"a score from 0 to 5 .*'5.1'"),
        ("sts_b", "train.tsv", 2, b"\t".join([b"x"] * 9 + [b"nan"]), r"a score from 0 to 5 .*'nan'"),
        ("rte", "train.tsv", 1, b"index\tsentence1\tlabel", r"line 1: expected 4 column names .*got 3"),
        ("rte", "dev.tsv", 1, b"index\tsentence1\tlabel\tsentence2", r"'sentence2' in column 3, got it in column 4"),
        ("rte", "train.tsv", 1, b"0\ta\tb\tentailment", r"line 1: .*got a row of data; add the header"),
        ("rte", "test.tsv", 1, b"0\ta\tb", r"test.tsv line 1: .*got a row of data; add the header"),
        ("mrpc", "train.tsv", 1, b"\xef\xbb\xbf1\tx\tx\ta\tb", r"line 1: .*got a row of data; add the header"),
    ],
)  # fmt: skip
def test_bad_lines(name, file, number, line, message, one_task, preprocess, tmp_path):
    _replace_line(one_task(glue_task(name).folder) / file, number, line)
    with pytest.raises(DwtError, match=message):
        preprocess(name)
    assert_nothing_left(tmp_path / "out")


@pytest.mark.parametrize(("name", "file"), [("rte", "train.tsv"), ("cola", "dev.tsv")])
@pytest.mark.parametrize("keep", [0, 1])
def test_empty_split(name, file, keep, one_task, preprocess, tmp_path):
    task = glue_task(name)
    path = one_task(task.folder) / file
    has_header = task.splits[0].table.has_header
    path.write_bytes(b"".join(path.read_bytes().splitlines(True)[: keep * has_header]))
    with pytest.raises(DwtError, match=f"{file}: expected at least one {task.folder} row"):
        preprocess(name)
    assert_nothing_left(tmp_path / "out")


def test_all_rows_malformed_is_an_empty_split(one_task, preprocess):
    path = one_task("QQP") / "dev.tsv"
    path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\nx\ty\nx\n")
    with pytest.raises(DwtError, match=r"at least one QQP row, got none \(2 malformed ones"):
        preprocess("qqp")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_not_utf8_names_line_and_byte(mark, one_task, preprocess, tmp_path):
    path = one_task("CoLA") / "train.tsv"
    start = mark + b"s\t1\t\tgood\ns\t0\t\tcaf"
    path.write_bytes(start + b"\xe9\n")
    message = f"train.tsv line 2: expected UTF-8, got byte 0xe9 at byte offset {len(start)}"
    with pytest.raises(DwtError, match=message):
        preprocess("cola")
    path.write_bytes(mark + b"s\t1\t\tcaf\xe9\n")
    message = f"line 1: expected UTF-8, got byte 0xe9 at byte offset {len(mark) + 8}"
    with pytest.raises(DwtError, match=message):
        preprocess("cola")
    assert_nothing_left(tmp_path / "out")


def test_line_end_byte_order_mark_and_space_around_a_label_are_no_text(tmp_path):
    task = glue_task("cola")
    path = tmp_path / "train.tsv"
    path.write_bytes(b"\xef\xbb\xbfs\t 1 \t\tgood \r\ns\t0\t\tbad\r\n")
    rows = read_rows(path, task, task.splits[0])
    assert (rows.inputs, rows.labels) == ([["good ", "bad"]], ["1", "0"])


def test_dev_label_that_train_lacks(one_task, preprocess, tmp_path):
    """fairseq would write <unk>, class -1, and fail in training."""
    path = one_task("SST-2") / "train.tsv"
    path.write_bytes(b"sentence\tlabel\ngood\t1\nfine\t1\n")
    with pytest.raises(DwtError, match=r"dev.tsv: label '0' does not occur in train.tsv"):
        preprocess("sst_2")
    assert_nothing_left(tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "got no token in it"),
        (b"13\n", "expected a fairseq dictionary, '<token> <count>'"),
        (b"13 1\n13 2\n", "expected a fairseq dictionary.*Duplicate"),
        (b"\xff 1\n", "expected a fairseq dictionary"),
    ],
)
def test_bad_dictionary(content, message, tmp_path):
    if content is not None:
        (tmp_path / "dict.txt").write_bytes(content)
    with pytest.raises(DwtError, match=f"dict.txt: .*{message}"):
        load_dictionary(tmp_path / "dict.txt")


def test_a_dictionary_of_another_tokenizer_is_refused(glue_dir, preprocess, tmp_path):
    (tmp_path / "dict.txt").write_text("other 1\n")
    dictionary = load_dictionary(tmp_path / "dict.txt")
    with pytest.raises(DwtError, match="train.tsv: expected tokens of the dictionary, got .* dict"):
        preprocess("rte", glue_dir, dictionary=dictionary)
    assert_nothing_left(tmp_path / "out")
