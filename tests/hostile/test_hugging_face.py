"""Damaged Hugging Face folders and SentencePiece models."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_dwt.huggingface import read_folder
from tests.hostile.cases import (
    altered,
    answers,
    damaged,
    fuzz,
    parts,
    safetensors,
)


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory):
    """A Hugging Face RoBERTa with its tokenizer, as on the hub."""
    from fairseq_dwt.huggingface.vocabulary import gpt2_ids
    from tests.huggingface.conftest import MERGES, save_hf

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


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    """A Hugging Face BERT with both kinds of tokenizer files."""
    from tests.huggingface.conftest import fast, save

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
