"""Damaged and made-up files: every reader answers with a value or with our error, nothing else.

``DWT_FUZZ=100000 python -m pytest tests/hostile`` tries that many cases a reader. The address space
is bounded while a reader runs: a header that claims more than there is must be refused before
anything is allocated.
"""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import Pretrained, load_checkpoint
from fairseq_dwt.delta import Delta
from fairseq_dwt.delta.recipe import RecipeDelta, merge_recipe
from fairseq_dwt.glue.predictions import DevPredictions
from fairseq_dwt.glue.suite import TASKS
from fairseq_dwt.glue.tsv import read_rows
from fairseq_dwt.ticket import ElementMask, Ticket
from tests.hostile.cases import (
    altered,
    answers,
    damaged,
    fuzz,
    parts,
    resealed,
    safetensors,
)


def test_a_ticket(one_of_each):
    whole = (one_of_each / "ticket.json").read_bytes()
    value = json.loads(whole)
    del value["sha256"]  # it would refuse all of these at once

    @fuzz
    @given(st.one_of(damaged(whole), altered(value).map(lambda v: json.dumps(v).encode())))
    def check(data):
        ticket = answers(lambda: Ticket.loads(data.decode("utf-8", "replace"), "t.json"))
        if ticket is not None:  # what is taken is whole: it can be used and written
            assert Ticket.loads(ticket.dumps()) == ticket
            ticket.digest(), ticket.top(1).num_parameters if ticket.ranked else None

    check()


@pytest.mark.parametrize("name, read", [
    ("mask.safetensors", ElementMask.load), ("task.delta.safetensors", Delta.load),
    ("recipe.delta.safetensors", RecipeDelta.load),
])  # fmt: skip
def test_a_file_of_tensors(name, read, one_of_each, small, tmp_path):
    base = Pretrained(small.init)
    whole = (one_of_each / name).read_bytes()
    header, payload = parts(whole)
    path = str(tmp_path / name)
    inner = header["__metadata__"]
    texts = {key: json.loads(inner[key]) for key in inner if inner[key][:1] in "{["}

    def with_metadata(changed):
        told = {key: json.dumps(changed[key]) for key in changed if key in texts}
        return safetensors({**header, "__metadata__": {**inner, **told}}, payload)

    made_up = st.one_of(
        altered(header).map(lambda h: safetensors(h, payload)),
        damaged(payload).map(lambda p: safetensors(header, p)),
        altered(texts).filter(lambda changed: isinstance(changed, dict)).map(with_metadata),
    )

    @fuzz
    @given(st.one_of(damaged(whole), made_up, made_up.map(resealed)))
    def check(data):
        Path(path).write_bytes(data)
        found = answers(read, path)
        if found is not None:
            if isinstance(found, RecipeDelta):
                answers(merge_recipe, base, found)
            found.save(path)
            assert read(path).digest() == found.digest() if name.startswith("mask") else read(path)

    check()


@pytest.mark.parametrize("place", [["a", [None], None, 1], ["a", "", None, 1], ["a", None, "b", 1]])
def test_a_place_that_is_none_is_named(place, one_of_each, tmp_path):
    header, payload = parts((one_of_each / "recipe.delta.safetensors").read_bytes())
    told = json.loads(header["__metadata__"]["delta"])
    told["places"].insert(0, place)
    header["__metadata__"]["delta"] = json.dumps(told)
    path = tmp_path / "recipe.delta.safetensors"
    path.write_bytes(resealed(safetensors(header, payload)))
    with pytest.raises(DwtError, match="a: expected the name of a tensor of the base"):
        RecipeDelta.load(str(path))


def test_predictions(one_of_each, tmp_path):
    whole = (one_of_each / "predictions.tsv").read_bytes()
    head = json.loads(whole.splitlines()[0][2:])
    body = b"\n".join(whole.split(b"\n")[1:])
    path = str(tmp_path / "predictions.tsv")
    made_up = altered(head).map(lambda h: b"# " + json.dumps(h).encode() + b"\n" + body)

    @fuzz
    @given(st.one_of(damaged(whole), made_up))
    def check(data):
        Path(path).write_bytes(data)
        found = answers(DevPredictions.load, path)
        if found is not None:
            found.percent(["accuracy"])

    check()


@pytest.mark.parametrize("name", ["rte", "sts_b", "qqp", "cola"])
def test_a_table_of_glue(name, tmp_path):
    task = TASKS[name]
    split = next(s for s in task.splits if s.table.label is not None)
    table = split.table
    label = "3.5" if task.regression else task.labels[0]
    row = "\t".join(label if column == table.label else f"a {column}" for column in table.columns)
    lines = (["\t".join(table.columns)] if table.has_header else []) + [row] * 3
    whole = ("\n".join(lines) + "\n").encode()
    path = tmp_path / "train.tsv"

    @fuzz
    @given(damaged(whole))
    def check(data):
        path.write_bytes(data)
        rows = answers(read_rows, path, task, split)
        if rows is not None:
            assert {len(column) for column in rows.inputs} == {len(rows.labels)}
            assert all(
                "\t" not in text and "\n" not in text for column in rows.inputs for text in column
            )

    check()


def test_a_checkpoint(one_of_each, tmp_path):
    """A zip of a pickle and of tensors; the pickle is damaged inside of a good zip too."""
    whole = (one_of_each / "tuned.pt").read_bytes()
    with zipfile.ZipFile(one_of_each / "tuned.pt") as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    path = str(tmp_path / "model.pt")

    @fuzz
    @given(st.one_of(damaged(whole), damaged(members[pickled])), st.booleans())
    def check(data, inside):
        if data[:2] == b"PK":
            Path(path).write_bytes(data)
        else:
            with zipfile.ZipFile(path, "w") as archive:
                for name, content in members.items():
                    archive.writestr(name, data if name == pickled else content)
        answers(lambda: Pretrained(path).settings)

    check()


class _RunsCode:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("where", ["model", "args", "optimizer_history", "extra"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_runs_no_code(where, zipped, one_of_each, tmp_path):
    state = load_checkpoint(str(one_of_each / "tuned.pt"))
    marker = str(tmp_path / "code-ran")
    state[where] = _RunsCode(marker)
    path = str(tmp_path / "model.pt")
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DwtError, match="if you trust the file, load it with"):
        load_checkpoint(path)
    assert not os.path.exists(marker)
    with open(path, "wb") as file:
        pickle.dump({"model": _RunsCode(marker)}, file)
    with pytest.raises(DwtError):
        load_checkpoint(path)
    assert not os.path.exists(marker)


@pytest.mark.parametrize("claim", [
    {"shape": [10**12, 10**12]}, {"shape": [2**40]}, {"data_offsets": [0, 2**50]},
])  # fmt: skip
def test_a_header_that_claims_more_than_there_is(claim, one_of_each, tmp_path):
    for name, read in (
        ("mask.safetensors", ElementMask.load),
        ("task.delta.safetensors", Delta.load),
        ("recipe.delta.safetensors", RecipeDelta.load),
    ):
        header, payload = parts((one_of_each / name).read_bytes())
        first = next(key for key in header if key != "__metadata__")
        header[first] = {**header[first], **claim}
        path = tmp_path / name
        path.write_bytes(safetensors(header, payload))
        assert answers(read, str(path)) is None
    value = json.loads((one_of_each / "ticket.json").read_text())
    del value["sha256"]
    value["matrices"][0]["shape"] = [10**12, 10**12]
    assert answers(Ticket.loads, json.dumps(value)) is None
