from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.files import (
    read_safetensors,
    replacing,
    replacing_folder,
    write_safetensors,
)


def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "ticket.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        with replacing(str(path)) as temporary:
            with open(temporary, "w") as file:
                file.write("half of the n")
            raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["ticket.json"]


def test_an_error_of_what_is_computed_is_not_one_of_the_disk(tmp_path):
    with pytest.raises(DwtError, match="cannot write it"), replacing(f"{tmp_path}/a"):
        raise RuntimeError("as torch.save on a full disk")
    with pytest.raises(RuntimeError, match="shapes"), replacing(f"{tmp_path}/a", (OSError,)):
        raise RuntimeError("shapes do not fit")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_and_empty_is_filled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with replacing_folder(Path(".")) as partial:
        (partial / "inside").mkdir()
        (partial / "config.json").write_text("new")
    assert sorted(os.listdir(".")) == ["config.json", "inside"]
    assert not [name for name in os.listdir("..") if "partial" in name]


def test_folders_are_made_and_the_file_is_readable_by_others(tmp_path):
    path = tmp_path / "a" / "b.json"
    with replacing(str(path)) as temporary:
        with open(temporary, "w") as file:
            file.write("new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o044


def test_a_link_stays_one_and_permissions_stay(tmp_path):
    path, link = tmp_path / "real.json", tmp_path / "link.json"
    path.write_text("old")
    path.chmod(0o600)
    link.symlink_to(path)
    with replacing(str(link)) as temporary, open(temporary, "w") as file:
        file.write("new")
    assert link.is_symlink() and path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    target, other = tmp_path / "scratch" / "RTE", tmp_path / "RTE"
    target.mkdir(parents=True)
    other.symlink_to(target)
    with replacing_folder(other) as partial:
        (partial / "dict.txt").write_text("new")
    assert other.is_symlink() and [p.name for p in target.iterdir()] == ["dict.txt"]
    names = sorted(p.name for p in tmp_path.rglob("*"))
    assert names == ["RTE", "RTE", "dict.txt", "link.json", "real.json", "scratch"]


def test_what_is_no_file_is_written_into(tmp_path):
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(Path(pipe).read_text)
        with replacing(pipe) as temporary, open(temporary, "w") as file:
            file.write("through")
        assert read.result(timeout=60) == "through"
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)


def test_safetensors_go_through_a_pipe(tmp_path):
    pipe, file = str(tmp_path / "pipe"), str(tmp_path / "file.safetensors")
    os.mkfifo(pipe)
    given = {"a": torch.arange(3.0)}, {"format": "x"}
    write_safetensors(file, *given)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(Path(pipe).read_bytes)
        write_safetensors(pipe, *given)
        assert read.result(timeout=60) == Path(file).read_bytes()
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)
    assert read_safetensors(file)[1]["a"].tolist() == [0, 1, 2]


def test_a_folder_that_takes_no_files_is_our_error():
    with pytest.raises(DwtError, match="expected a folder that can be written, got /dev/null"):
        with replacing("/dev/null/x.json"):
            pass


def test_a_folder_does_not_take_a_files_place(tmp_path):
    path = tmp_path / "RTE"
    path.write_text("mine")
    with pytest.raises(DwtError, match="RTE: expected a folder to write, got a file"):
        with replacing_folder(path):
            pass
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == "mine"


def test_an_error_is_one_line_whatever_it_quotes():
    assert str(DwtError("a name\nof two\r\nlines\u2028or three")) == "a name of two lines or three"
