"""Text to predict on is read as preprocessing reads it; what is no sentence is refused."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from fairseq_dwt.errors import DwtError
from fairseq_dwt.glue.examples import read_examples, sentences_of
from fairseq_dwt.glue.suite import TASKS, glue_task
from fairseq_dwt.glue.tsv import read_rows


def read(tmp_path, content: bytes, sentences=2, labels=("entailment", "not_entailment"), **more):
    path = tmp_path / "text.tsv"
    path.write_bytes(content)
    return read_examples(str(path), sentences, labels, more.get("regression", False))


@pytest.mark.parametrize(
    "text",
    [
        b"A.\tB.\n", b"A.\tB.\r\n", b"\xef\xbb\xbfA.\tB.\n", b"A.\tB.", b"A.\r\tB.\n",
        "A\u2028.\tB\x85.\n".encode(), b"A\x00.\tB\x0b.\x0c\n", b"\tB.\n", b'"A\t"B\n',
        b"A.\tB.\r\r\n",
    ],
)  # fmt: skip
def test_sentences_are_those_of_preprocessing(text, tmp_path, monkeypatch):
    table = tmp_path / "test.tsv"
    mark, text = (text[:3], text[3:]) if text.startswith(b"\xef") else (b"", text)
    table.write_bytes(mark + b"index\tsentence1\tsentence2\n0\t" + text)
    rte = glue_task("rte")
    expected = [list(pair) for pair in zip(*read_rows(table, rte, rte.splits[2]).inputs)]
    assert read(tmp_path, mark + text) == expected
    stdin = SimpleNamespace(buffer=io.BytesIO(mark + text))
    monkeypatch.setattr("sys.stdin", stdin)
    assert read_examples(None, 2, (), False) == expected


@pytest.mark.parametrize(
    "text", ["A.\tB.\n".encode("utf-16"), "A.\tBé.\n".encode("latin-1"), b"A.\tB.\n\xff\tC\n"]
)
def test_what_is_not_utf_8_is_refused_with_its_line(text, tmp_path):
    number = 2 if b"C" in text else 1
    with pytest.raises(DwtError, match=f"text.tsv line {number}: expected UTF-8, got byte 0x"):
        read(tmp_path, text)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_headers_of_glue_files_are_refused(task, tmp_path):
    for split in task.splits:
        for names in (split.table.columns, split.table.inputs):
            if names == split.table.inputs and not split.table.has_header:
                continue
            header = "\t".join(names).encode() + b"\n"
            for sentences in (None, task.num_inputs):
                with pytest.raises(DwtError, match="line 1: expected .* got the header of a GLUE"):
                    read(tmp_path, header + b"a\tb\n", sentences)


@pytest.mark.parametrize(
    "text, sentences, more, told",
    [
        (b"A cat sat. A cat.\n", 2, {}, "line 1: expected 2 sentences .* got 1 fields"),
        (b"A.\tB.\nA. B.\n", 2, {}, "line 2: expected 2 sentences .* got 1 fields"),
        (b"good\t1\n", 1, {}, "line 1: expected 1 sentence, got 2 fields"),
        (b"A.\tB.\tentailment\n", 2, {}, "line 1: expected 2 sentences .* got 3 fields"),
        (b"A.\tB.\n\n", 2, {}, "line 2: expected 2 sentences .* got 1 fields"),
        (b"good\t1\nbad\t0\n", None, {"labels": ("1", "0")}, "got the label '1'"),
        (b"A.\tentailment\n", 2, {}, "got the label 'entailment'"),
        (b"A.\t3.5\nB.\t0\n", 2, {"labels": (), "regression": True}, "got the label '3.5'"),
        (b"0\tA.\n1\tB.\n", 2, {}, "got the row number '0'"),
        (b"7\tA.\n8\tB.\n", None, {}, "got the row number '7'"),
    ],
)
def test_what_is_no_sentence_is_refused(text, sentences, more, told, tmp_path):
    with pytest.raises(DwtError, match=told):
        read(tmp_path, text, sentences, **more)


def test_sentences_that_only_look_like_columns_are_taken(tmp_path):
    text = b"1\tOne.\n1\tTwo.\n2 + 2?\t4\n"
    assert len(read(tmp_path, text)) == 3
    assert read(tmp_path, b"", None) == []
    assert read(tmp_path, b"sentence\n".replace(b"e\n", b"es\n"), 1) == [["sentences"]]


def test_a_delta_knows_its_sentences():
    rte, cola = glue_task("rte"), glue_task("cola")
    assert sentences_of("RTE", None, None, "d") == 2
    assert sentences_of("SST-2-bin", None, None, "d") == 1
    assert sentences_of("mine", None, None, "d") is None
    assert sentences_of("mine", None, cola, "d") == 1
    assert sentences_of("mine", 2, rte, "d") == 2
    for name, recorded, asked in (("RTE", None, cola), ("mine", 1, rte)):
        with pytest.raises(DwtError, match="--task: expected a task of .* got (CoLA|RTE)"):
            sentences_of(name, recorded, asked, "d")
