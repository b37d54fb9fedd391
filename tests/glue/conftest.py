from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from fairseq_dwt.glue.binarize import preprocess_task
from fairseq_dwt.glue.bpe import gpt2_encoder
from fairseq_dwt.glue.indexed import load_dictionary
from fairseq_dwt.glue.suite import TASKS, glue_task
from tests.glue.fairseq_recipe import recipe
from tests.glue.fixture_data import write_bpe, write_glue

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "glue" / "preprocess.py"


@pytest.fixture(scope="session")
def glue_dir(tmp_path_factory) -> Path:
    """All eight tasks, generated. Do not write into it."""
    return write_glue(tmp_path_factory.mktemp("generated") / "glue_data")


@pytest.fixture(scope="session")
def bpe_dir(tmp_path_factory) -> Path:
    """A tiny encoder.json, vocab.bpe, dict.txt. Do not write into it."""
    return write_bpe(tmp_path_factory.mktemp("generated") / "bpe")


@pytest.fixture(scope="session")
def real_dir() -> Path:
    """The folder with the real glue/, bpe/, minilm/."""
    folder = os.environ.get("DWT_REAL_DIR")
    if not folder:
        pytest.skip("DWT_REAL_DIR is unset: it names the folder with glue/, bpe/ and minilm/")
    return Path(folder)


@pytest.fixture(scope="session")
def command():
    """``main`` of examples/glue/preprocess.py."""
    spec = importlib.util.spec_from_file_location("glue_preprocess", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="session")
def expected(glue_dir, bpe_dir, tmp_path_factory):
    """fairseq's output for all eight generated tasks."""
    work = tmp_path_factory.mktemp("recipe")
    folders = [task.folder for task in TASKS.values()]
    return recipe(glue_dir, folders, bpe_dir, work / "processed", work / "bin")


@pytest.fixture
def one_task(glue_dir, tmp_path):
    """A copy of one task's folder that a test may spoil: returns its path."""

    def copy(folder: str) -> Path:
        shutil.copytree(glue_dir / folder, tmp_path / "glue" / folder)
        return tmp_path / "glue" / folder

    return copy


@pytest.fixture
def preprocess(bpe_dir, tmp_path):
    """Preprocess one task of tmp_path/glue (or another folder) into tmp_path/out."""

    def run(name: str, glue_dir: Path = tmp_path / "glue", **options):
        encode = options.pop("encode", None) or gpt2_encoder(
            bpe_dir / "encoder.json", bpe_dir / "vocab.bpe"
        )
        dictionary = options.pop("dictionary", None) or load_dictionary(bpe_dir / "dict.txt")
        options.setdefault("note", lambda text: None)
        return preprocess_task(
            glue_task(name), glue_dir, tmp_path / "out", encode, dictionary, **options
        )

    return run


def arguments_for(glue_dir: Path, tasks: list[str], bpe_dir: Path, out: Path) -> list[str]:
    arguments = ["--glue-dir", str(glue_dir), "--task", *tasks]
    return [*arguments, "--bpe-dir", str(bpe_dir), "--out", str(out)]


def assert_nothing_left(out: Path) -> None:
    """No output, and no hidden unfinished one either."""
    assert not out.exists() or os.listdir(out) == []
