"""Damaged and made-up files: every reader answers with a value or with our error, nothing else.

``DWT_FUZZ=100000 python -m pytest tests/hostile`` tries that many cases a reader. The address space
is bounded while a reader runs: a header that claims more than there is must be refused before
anything is allocated.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import Pretrained, load_checkpoint
from fairseq_dwt.delta import Delta
from fairseq_dwt.files import checksum
from fairseq_dwt.glue.predictions import Predictions
from fairseq_dwt.glue.tasks import TASKS
from fairseq_dwt.glue.tsv import read_rows
from fairseq_dwt.huggingface import read_folder
from fairseq_dwt.ticket import ElementMask, Ticket

CASES = int(os.environ.get("DWT_FUZZ", "200"))
fuzz = settings(
    max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
ROOM = 2**30


@contextlib.contextmanager
def bounded():
    """No more than a GiB beyond what is there."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def answers(read, *args):
    """What ``read`` gives, or None where it refuses; anything else is the test's failure."""
    with bounded():
        try:
            return read(*args)
        except DwtError as error:
            assert str(error) and "\n" not in str(error)
            return None


# -- damage ----------------------------------------------------------------------------------------

NUMBERS = [0, 1, -1, 2**31, 2**63, 10**12, 10**400, 1e308, -1e-300, float("nan"), float("inf")]
TEXTS = ["", "../../outside", "/etc/passwd", "a\x00b", "layers.0.fc1", "é\u2028", "9" * 400]
hostile = st.recursive(
    st.one_of(st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(TEXTS),
              st.integers(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@st.composite
def damaged(draw, whole: bytes):
    """Some bytes flipped, cut, repeated or put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["flip", "cut", "put", "repeat", "drop"]))
        if kind == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[place:]
        elif kind == "put":
            data[place:place] = draw(st.binary(max_size=12))
        elif kind == "repeat":
            data[place:place] = data[place : place + draw(st.integers(1, 64))]
        else:
            del data[place : place + draw(st.integers(1, 64))]
    return bytes(data)


@st.composite
def altered(draw, value):
    """A JSON value in which something became something else."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        changed = dict(value)
        what = draw(st.integers(0, 5))
        if what == 0:
            del changed[key]
        elif what == 1:
            changed[draw(st.sampled_from([*TEXTS, *value]))] = changed.pop(key)
        else:
            changed[key] = draw(altered(value[key]))
        return changed
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        place = draw(st.integers(0, len(value) - 1))
        changed = list(value)
        if draw(st.integers(0, 5)) == 0:
            changed.append(changed[place])
        else:
            changed[place] = draw(altered(value[place]))
        return changed
    return draw(hostile)


def safetensors(header, payload: bytes) -> bytes:
    """A safetensors file with this header, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + payload


def resealed(data: bytes) -> bytes:
    """The same file with the checksum of its content, where it has content to speak of."""
    try:
        tensors, (header, payload) = load(data), parts(data)
        metadata = header["__metadata__"]
        metadata.pop("sha256", None)
        metadata["sha256"] = checksum(metadata, tensors)
        return safetensors(header, payload)
    except Exception:  # what is broken further down needs no checksum to be read
        return data


def parts(data: bytes):
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


# -- the readers -----------------------------------------------------------------------------------


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
])  # fmt: skip
def test_a_file_of_tensors(name, read, one_of_each, tmp_path):
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
            found.save(path)
            assert read(path).digest() == found.digest() if name.startswith("mask") else read(path)

    check()


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
        found = answers(Predictions.load, path)
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


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory):
    """A Hugging Face RoBERTa with its tokenizer, as on the hub."""
    from fairseq_dwt.huggingface.vocabulary import gpt2_ids
    from tests.test_huggingface import MERGES, save_hf

    folder = tmp_path_factory.mktemp("hf")
    named = ["<s>", "<pad>", "</s>", "<unk>", *gpt2_ids(MERGES), "<mask>"]
    save_hf(folder, {token: index for index, token in enumerate(named)})
    return folder


@pytest.mark.parametrize(
    "name", ["config.json", "vocab.json", "merges.txt", "model.safetensors", "index"]
)
def test_a_hugging_face_folder(name, hub_folder, tmp_path):
    """One file of the folder at a time; the shards' index may name any path."""
    folder = tmp_path / "hf"
    shutil.copytree(hub_folder, folder)
    if name == "index":
        name = "model.safetensors.index.json"
        names = parts((folder / "model.safetensors").read_bytes())[0]
        os.rename(folder / "model.safetensors", folder / "part.safetensors")
        index = {"weight_map": {n: "part.safetensors" for n in names if n != "__metadata__"}}
        (folder / name).write_text(json.dumps(index))
    path = folder / name
    whole = path.read_bytes()
    cases = [damaged(whole)]
    if name.endswith(".json"):
        cases.append(altered(json.loads(whole)).map(lambda v: json.dumps(v).encode()))
    if name == "model.safetensors":
        header, payload = parts(whole)
        cases.append(altered(header).map(lambda h: safetensors(h, payload)))

    @fuzz
    @given(st.one_of(cases))
    def check(data):
        path.write_bytes(data)
        found = answers(read_folder, str(folder))
        if found is not None:
            assert {os.path.basename(name) for name in found.files} == set(found.files)

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


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    """A Hugging Face BERT with both kinds of tokenizer files."""
    from tests.test_huggingface_families import save
    from tests.test_huggingface_left_over import fast

    folder = tmp_path_factory.mktemp("bert") / "hf"
    save(folder, "bert", None)
    fast(lambda found: None)(folder)
    return folder


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "tokenizer.json"])
def test_a_hugging_face_bert(name, bert_folder, tmp_path):
    folder = tmp_path / "hf"
    shutil.copytree(bert_folder, folder)
    path = folder / name
    whole = path.read_bytes()
    cases = [damaged(whole)]
    if name.endswith(".json"):
        cases.append(altered(json.loads(whole)).map(lambda v: json.dumps(v).encode()))

    @fuzz
    @given(st.one_of(cases))
    def check(data):
        path.write_bytes(data)
        answers(read_folder, str(folder))

    check()


@fuzz
@given(st.data())
def test_a_sentencepiece_model(data):
    from fairseq_dwt.huggingface.pieces import Pieces, parse, serialize

    scored = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("\u2581low", -1.5), ("é", -2.0)]
    whole = serialize(Pieces(scored, b"table"))
    answers(parse, data.draw(damaged(whole)), "x.model")
