"""examples/glue/preprocess.py as users call it."""

from __future__ import annotations

import os
import signal
import string
import subprocess
import sys
import time

import pytest

from tests.glue.conftest import SCRIPT, arguments_for, assert_nothing_left
from tests.glue.fairseq_recipe import tree


def test_command_as_a_user_types_it(expected, glue_dir, bpe_dir, tmp_path):
    arguments = arguments_for(glue_dir, ["RTE"], bpe_dir, tmp_path / "data-bin")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, "--workers", "1"],
        cwd=tmp_path,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "data-bin" / "RTE") == tree(expected / "RTE")
    lines = done.stdout.splitlines()
    for split in ("train", "valid", "test"):
        (line,) = [line for line in lines if line.startswith(f"RTE {split}: 40 sentence pairs, ")]
        assert "tokens" in line and "unknown" in line and "%" in line and "0 rows dropped" in line
    assert lines[-2] == f"wrote {tmp_path / 'data-bin' / 'RTE'}"
    assert lines[-1].startswith("next: fairseq-hydra-train --config-name dwt_rte task.data=")


def test_all_does_what_is_there_and_says_what_is_not(
    expected, one_task, bpe_dir, command, tmp_path, capsys
):
    one_task("RTE")
    one_task("STS-B")
    assert command(arguments_for(tmp_path / "glue", ["all"], bpe_dir, tmp_path / "out")) == 0
    assert "left out: MNLI, QNLI, QQP, SST-2, CoLA, MRPC" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path / "out")) == ["RTE", "STS-B"]
    assert tree(tmp_path / "out" / "STS-B") == tree(expected / "STS-B")


def test_several_tasks_in_any_spelling_each_once(glue_dir, bpe_dir, command, tmp_path):
    tasks = ["sst_2", "CoLA", "SST-2"]
    assert command(arguments_for(glue_dir, tasks, bpe_dir, tmp_path / "out")) == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["CoLA", "SST-2"]


def test_existing_output_is_found_before_any_work(glue_dir, bpe_dir, command, tmp_path, capsys):
    assert command(arguments_for(glue_dir, ["cola"], bpe_dir, tmp_path / "out")) == 0
    assert command(arguments_for(glue_dir, ["sst_2", "cola"], bpe_dir, tmp_path / "out")) == 1
    assert "CoLA exists already" in capsys.readouterr().err
    assert os.listdir(tmp_path / "out") == ["CoLA"]


def test_bert_and_sentencepiece(glue_dir, command, tmp_path, capsys):
    letters = [begin + letter for begin in ("", "##") for letter in string.ascii_lowercase]
    words = "\n".join(["[UNK]", "[CLS]", "[SEP]", "the", "dog", *letters])
    (tmp_path / "vocab.txt").write_text(f"{words}\n", encoding="utf-8")
    (tmp_path / "dict.txt").write_text(words.replace("\n", " 1\n") + " 1\n", encoding="utf-8")
    arguments = [
        "--glue-dir",
        str(glue_dir),
        "--task",
        "CoLA",
        "--dict",
        str(tmp_path / "dict.txt"),
    ]
    bert = ["--bpe", "bert", "--vocab-file", str(tmp_path / "vocab.txt")]
    assert command([*arguments, *bert, "--out", str(tmp_path / "bert")]) == 0
    assert "CoLA train: 40 sentences, " in capsys.readouterr().out

    library = pytest.importorskip("sentencepiece")
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(["the dog saw the city", " ".join(string.ascii_lowercase)] * 20),
        model_prefix=str(tmp_path / "m"),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    rows = (tmp_path / "m.vocab").read_text(encoding="utf-8").splitlines()[3:]
    text = "".join(f"{row.split()[0]} 1\n" for row in rows)
    (tmp_path / "dict.txt").write_text(text, encoding="utf-8")
    pieces = ["--bpe", "sentencepiece", "--sentencepiece-model", str(tmp_path / "m.model")]
    assert command([*arguments, *pieces, "--out", str(tmp_path / "pieces")]) == 0
    assert len(tree(tmp_path / "pieces" / "CoLA")) == len(tree(tmp_path / "bert" / "CoLA")) == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "wnli"], "unknown GLUE task 'wnli'"),
        (["--task", "rte", "--glue-dir", "nowhere"], "nowhere/RTE: expected the folder"),
        (["--task", "all", "--glue-dir", "nowhere"], "at least one of the folders MNLI, QNLI"),
        (["--task", "rte", "--bpe-dir", "nowhere"], "nowhere/encoder.json: no such file"),
        (["--task", "rte", "--dict", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--task", "rte", "--bpe-dir", ""], "--bpe gpt2 needs --bpe-dir"),
        (["--task", "rte", "--bpe", "bert"], "--bpe bert needs --vocab-file"),
        (["--task", "rte", "--bpe", "sentencepiece"], "needs --sentencepiece-model"),
        (["--task", "rte", "--workers", "0"], "--workers: expected 1 or more, got 0"),
    ],
)
def test_errors_are_one_line_on_stderr(
    arguments, message, glue_dir, bpe_dir, command, tmp_path, capsys
):
    defaults = arguments_for(glue_dir, ["rte"], bpe_dir, tmp_path / "out")
    assert command([*defaults, *arguments]) == 1
    error = capsys.readouterr().err
    (line,) = [line for line in error.splitlines() if line.startswith("preprocess.py: error: ")]
    assert message in line
    assert error.endswith(line + "\n")
    assert_nothing_left(tmp_path / "out")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_command_leaves_no_output(number, one_task, bpe_dir, tmp_path):
    one_task("RTE")
    slow = (
        "import runpy, sys, time\n"
        "import fairseq_dwt.glue.labels as labels\n"
        "labels.Labels._write = lambda *_: (print('busy', flush=True), time.sleep(60))\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    arguments = arguments_for(tmp_path / "glue", ["RTE"], bpe_dir, tmp_path / "out")
    process = subprocess.Popen(
        [sys.executable, "-c", slow, str(SCRIPT), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
        # a shell that runs the tests in the background has them ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.stdout.readline().strip() != "busy":
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert not (tmp_path / "out" / "RTE").exists()
    if number != signal.SIGKILL:
        assert_nothing_left(tmp_path / "out")


def _environment() -> dict[str, str]:
    root = str(SCRIPT.parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
