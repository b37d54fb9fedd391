"""An output is there whole or not at all; a failure changes nothing."""

from __future__ import annotations

import os

import pytest

from fairseq_dwt.errors import DwtError
from fairseq_dwt.glue.bpe import Encoder
from tests.glue.conftest import arguments_for
from tests.glue.fairseq_recipe import tree


def test_existing_output_is_refused_and_untouched(one_task, preprocess, tmp_path):
    one_task("RTE")
    preprocess("rte")
    before = tree(tmp_path / "out")
    with pytest.raises(DwtError, match=r"out/RTE exists already; add --overwrite"):
        preprocess("rte")
    assert tree(tmp_path / "out") == before


def test_overwrite_replaces_the_whole(one_task, preprocess, tmp_path):
    folder = one_task("RTE")
    preprocess("rte")
    (folder / "test.tsv").unlink()
    preprocess("rte", overwrite=True)
    assert not [path for path in tree(tmp_path / "out") if "test" in path]
    assert os.listdir(tmp_path / "out") == ["RTE"]


def test_an_empty_folder_is_no_output(one_task, preprocess, tmp_path):
    one_task("RTE")
    (tmp_path / "out" / "RTE").mkdir(parents=True)
    preprocess("rte")
    assert os.listdir(tmp_path / "out") == ["RTE"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("exists", [False, True])
def test_interruption_leaves_the_earlier_state(error, exists, one_task, preprocess, tmp_path):
    one_task("RTE")
    if exists:
        preprocess("rte")
    before = tree(tmp_path / "out")
    calls = []

    def encode(batch):
        calls.append(len(batch))
        if len(calls) == 3:  # in the last file
            raise error
        return [[0]] * len(batch)

    with pytest.raises(error):
        preprocess("rte", overwrite=True, encode=Encoder(encode, ["13"]))
    assert tree(tmp_path / "out") == before
    assert os.listdir(tmp_path / "out") == ["RTE"] * exists


def test_failure_of_the_last_rename_restores_the_earlier_output(
    one_task, preprocess, tmp_path, monkeypatch
):
    one_task("RTE")
    preprocess("rte")
    before = tree(tmp_path / "out")
    rename = os.rename

    def failing(source, target):
        if ".partial-" in str(source):
            raise OSError("disk trouble")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="disk trouble"):
        preprocess("rte", overwrite=True)
    assert tree(tmp_path / "out") == before
    assert os.listdir(tmp_path / "out") == ["RTE"]


def test_raw_files_are_never_overwritten(one_task, preprocess, bpe_dir, command, tmp_path, capsys):
    """--out may name the raw folder by mistake."""
    before = tree(one_task("RTE"))
    arguments = arguments_for(tmp_path / "glue", ["RTE"], bpe_dir, tmp_path / "glue")
    assert command([*arguments, "--overwrite"]) == 1
    assert "which preprocessing never writes; choose another --out" in capsys.readouterr().err
    assert tree(tmp_path / "glue" / "RTE") == before
