"""A task's delta by its real commands: export, apply, stock fairseq, predict."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from fairseq_dwt.checkpoint import Pretrained, Tuned, load_checkpoint
from fairseq_dwt.cli import main
from fairseq_dwt.delta import Delta, export
from fairseq_dwt.find.controls import random_columns
from fairseq_dwt.ticket import origin_of
from tests.conftest import WORDS, fine_tuned
from tests.processes import python


def stock(code: str, cwd) -> str:
    """Run code in a process that never imports the plugin; its last line."""
    code += "\nimport sys\nassert 'fairseq_dwt' not in sys.modules"
    return python("-c", code, cwd=cwd).splitlines()[-1]


@pytest.fixture
def vocabulary(tmp_path):
    """The words as BERT's word pieces, so that text can be encoded."""
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, ""]))
    return str(path)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["columns", "element mask"])
def test_export_and_apply_give_the_checkpoint_back(
    precision, kind, small, train, ticket, mask, tmp_path, capsys
):
    overrides = [] if precision == "fp32" else [f"common.{precision}=true"]
    source = ticket if kind == "columns" else mask
    folder = train("ticket_rte", f"optimizer.ticket={source}", "optimizer.k=null", *overrides)
    tuned, delta = f"{folder}/checkpoint_last.pt", str(tmp_path / "rte.delta.safetensors")
    merged = str(tmp_path / "merged" / "model.pt")
    assert main(["export", "--init", small.init, "--tuned", tuned, "-o", delta]) == 0
    assert "a head of 90" in capsys.readouterr().out
    assert Delta.load(delta).labels in (("0", "1"), ("1", "0"))
    assert main(["apply", "--init", small.init, "--delta", delta, "-o", merged]) == 0
    before, after = load_checkpoint(tuned)["model"], load_checkpoint(merged)["model"]
    kept = {n for n in before if "_weight" not in n and "_bias" not in n and "version" not in n}
    assert kept == set(after)
    for name in kept:
        assert torch.equal(after[name], before[name]), name
    used = f"{folder}/ticket.{'json' if kind == 'columns' else 'safetensors'}"
    verify = ["verify", "--init", small.init, "--tuned", merged, "--ticket", used]
    assert main(verify) == 0
    # and back again
    again = str(tmp_path / "again.safetensors")
    export = ["export", "--init", small.init, "--tuned", merged, "--ticket", used, "-o", again]
    assert main(export) == 0
    first, second = Delta.load(delta), Delta.load(again)
    assert all(torch.equal(second.values[n], t) for n, t in first.values.items())
    assert second.labels == first.labels and second.settings == first.settings
    assert [(d.task, d.sentences) for d in (first, second)] == [("RTE", 2)] * 2


def test_predict_says_what_stock_fairseq_says(
    small, train, ticket, vocabulary, tmp_path, capsys, monkeypatch
):
    longer = ["optimization.max_update=60", "optimization.lr=[0.05]"]
    folder = train("ticket_rte", f"optimizer.ticket={ticket}", "optimizer.k=2", *longer)
    delta = str(tmp_path / "rte.delta.safetensors")
    tuned = f"{folder}/checkpoint_last.pt"
    assert main(["export", "--init", small.init, "--tuned", tuned, "-o", delta]) == 0
    assert main(["apply", "--init", small.init, "--delta", delta, "-o", f"{tmp_path}/m.pt"]) == 0
    # stock fairseq, on the data that it reads itself
    code = f"""
import json, torch
from fairseq.models.roberta import RobertaModel
hub = RobertaModel.from_pretrained({str(tmp_path)!r}, 'm.pt', {small.data!r}, bpe=None).eval()
hub.task.cfg.data = {small.data!r}
hub.task.load_dataset('valid')
rows = []
words, labels = hub.task.source_dictionary, hub.task.label_dictionary
for i in range(len(hub.task.dataset('valid'))):
    tokens = hub.task.dataset('valid')[i]['net_input.src_tokens']
    scores = hub.predict('sentence_classification_head', tokens[None]).exp()[0]
    first, second = [words.string(t) for t in tokens[1:].split(
        [(tokens == 2).nonzero()[0].item(), len(tokens) - 1 - (tokens == 2).nonzero()[0].item()])]
    label = labels[labels.nspecial + int(scores.argmax())]
    rows.append([first, second, label, scores.tolist()])
print(json.dumps(rows))
"""
    rows = json.loads(stock(code, tmp_path))
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{first}\t{second}\n" for first, second, _, _ in rows))
    command = [
        "predict", "--init", small.init, "--delta", delta, "--bpe", "bert", "--vocab-file",
        vocabulary, "--dict", f"{small.data}/input0/dict.txt", "--batch-size", "3",
    ]  # fmt: skip
    capsys.readouterr()
    assert main([*command, "--task", "rte", "--scores", "--input", str(pairs)]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == len(rows) == 16
    for line, (_, _, label, scores) in zip(lines, rows):
        assert line[0] == label
        found = dict(score.split("=") for score in line[1:])
        assert found[label] == max(found.values())
        assert [float(score) for score in found.values()] == pytest.approx(scores, abs=2e-6)
    first = [float(line[1].split("=")[1]) for line in lines]
    assert max(first) - min(first) > 0.01  # or nothing was tested

    # from standard input, in a process of its own; a file is written whole
    process = [sys.executable, "-m", "fairseq_dwt", *command, "--output", f"{tmp_path}/out.txt"]
    with open(pairs) as file:
        subprocess.run(process, stdin=file, check=True, stdout=subprocess.DEVNULL)
    written = (tmp_path / "out.txt").read_text().splitlines()
    assert written == [label for _, _, label, _ in rows]

    for text, task, message in (
        ("a\tb\tc\n", [], "line 1: expected 2 sentences separated by a tab, got 3 fields"),
        ("a\tb\nc\n", [], "line 2: expected 2 sentences separated by a tab, got 1 fields"),
        ("a\tb\n", ["--task", "cola"], "--task: expected a task of 2 sentences"),
        ("a\tb\n", ["--task", "nope"], "unknown GLUE task"),
    ):
        pairs.write_text(text)
        assert main([*command, *task, "--input", str(pairs)]) == 2
        assert message in capsys.readouterr().err
    pairs.write_text("")
    assert main([*command, "--input", str(pairs)]) == 0
    assert capsys.readouterr().out == ""


def test_a_number_is_told_on_its_tasks_scale(small, vocabulary, tmp_path, capsys):
    pretrained = Pretrained(small.init)
    ticket = random_columns(pretrained.matrices, 1, 1, origin_of("random", pretrained, seed=1))
    tuned = fine_tuned(pretrained, ticket, str(tmp_path / "tuned.pt"), classes=1)
    delta = replace(export(pretrained, Tuned(tuned), ticket), labels=())
    settings = {**delta.settings, "regression_target": True}
    told = {}
    for task in ("STS-B", None):
        path = str(tmp_path / f"{task}.safetensors")
        replace(delta, settings=settings, task=task, sentences=2).save(path)
        (tmp_path / "pairs.tsv").write_text("w1 w2\tw3\n")
        assert main([
            "predict", "--init", small.init, "--delta", path, "--bpe", "bert", "--vocab-file",
            vocabulary, "--dict", f"{small.data}/input0/dict.txt", "--input", f"{tmp_path}/pairs.tsv",
        ]) == 0  # fmt: skip
        told[task] = float(capsys.readouterr().out)
    assert told["STS-B"] == pytest.approx(5 * told[None], rel=1e-5) and told[None] != 0


def test_an_interrupted_apply_leaves_the_old_file(small, train, ticket, tmp_path, monkeypatch):
    folder = train("ticket_rte", f"optimizer.ticket={ticket}")
    tuned, delta = f"{folder}/checkpoint_last.pt", str(tmp_path / "d.safetensors")
    assert main(["export", "--init", small.init, "--tuned", tuned, "-o", delta]) == 0
    target = tmp_path / "there" / "model.pt"
    target.parent.mkdir()
    target.write_text("old")
    save = torch.save

    def interrupted(state, path):
        save(state, path)
        with open(path, "r+b") as file:
            file.truncate(os.path.getsize(path) // 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    assert main(["apply", "--init", small.init, "--delta", delta, "-o", str(target)]) == 130
    assert target.read_text() == "old"
    assert os.listdir(target.parent) == ["model.pt"]


def test_export_refuses_in_one_sentence(small, train, ticket, tmp_path, capsys):
    folder = train("ticket_rte", f"optimizer.ticket={ticket}", "optimizer.k=2")
    tuned, out = f"{folder}/checkpoint_last.pt", str(tmp_path / "d.safetensors")
    start = ["export", "--init", small.init, "--tuned", tuned]
    (tmp_path / "other" / "label").mkdir(parents=True)
    swapped = reversed(Tuned(tuned).labels)
    text = "".join(f"{label} 1\n" for label in swapped)
    (tmp_path / "other" / "label" / "dict.txt").write_text(text)
    lonely = str(tmp_path / "lonely" / "checkpoint_best.pt")
    os.makedirs(os.path.dirname(lonely))
    shutil.copy(tuned, lonely)
    state = load_checkpoint(tuned)
    del state["task_state"]["labels"]
    torch.save(state, tmp_path / "unnamed.pt")
    unnamed = ["export", "--init", small.init, "--tuned", str(tmp_path / "unnamed.pt")]
    for command, message in (
        ([*start, "-k", "1", "-o", out], "outside the ticket, got others in"),
        ([*start, "--data", str(tmp_path / "other"), "-o", out], "--data: expected the labels of"),
        ([*start, "-o", "d.pt"], "expected a file name that ends in .safetensors"),
        (["export", "--init", small.init, "--tuned", lonely, "-o", out], "name it with --ticket"),
        ([*unnamed, "--ticket", ticket, "-o", out], "name the task's data-bin folder with --data"),
        ([*unnamed, "--data", "no", "--ticket", ticket, "-o", out], "no/label/dict.txt: expected"),
    ):
        assert main(command) == 2, command
        assert message in capsys.readouterr().err
        assert not os.path.exists(out)
    assert main([*unnamed, "--data", small.data, "--ticket", ticket, "-o", out]) == 0
    assert list(Delta.load(out).labels) == Tuned(tuned).labels
