from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fairseq_dwt.checkpoint import Pretrained, load_checkpoint
from fairseq_dwt.cli import main
from fairseq_dwt.ticket import ElementMask, Ticket


@pytest.fixture
def tuned(small, tmp_path):
    """A checkpoint in which column 5 of layer 1's FC1 and one bias entry moved."""
    saved = load_checkpoint(small.init)
    name = "encoder.sentence_encoder.layers.1.fc1"
    saved["model"] = {n: t.float() for n, t in saved["model"].items()}
    saved["model"][f"{name}.weight"][:, 5] += 1e-3
    saved["model"][f"{name}.bias"][3] += 1e-3
    path = str(tmp_path / "tuned.pt")
    torch.save(saved, path)
    return path


def test_extract_show_verify(small, tuned, tmp_path, capsys):
    out, mask = str(tmp_path / "t.json"), str(tmp_path / "m.safetensors")
    command = ["extract", "--init", small.init, "--tuned", tuned, "-o", out, "--mask", mask]
    assert main(command + ["--task", "MNLI"]) == 0
    ticket = Ticket.load(out)
    assert list(ticket.matrices) == ["layers.1.fc1"]
    assert ticket.matrices["layers.1.fc1"].columns == (5, 8)
    assert ticket.matrices["layers.1.fc1"].counts == (16, 1)
    assert ElementMask.load(mask).num_parameters == 17
    assert main(["show", out]) == 0
    assert "    1  -  -  -  -  5 b  -" in capsys.readouterr().out
    verify = ["verify", "--init", small.init, "--tuned", tuned, "--ticket"]
    assert main([*verify, out]) == 0
    assert "bit-identical" in capsys.readouterr().out
    assert main([*verify, out, "-k", "1"]) == 1
    assert "layers.1.fc1.bias: 1 entries" in capsys.readouterr().out
    assert main([*verify, mask]) == 0


def test_random_and_bitfit(small, tmp_path):
    path = str(tmp_path / "r.json")
    assert main(["random", "--init", small.init, "-k", "2", "--seed", "3", "-o", path]) == 0
    random = Ticket.load(path)
    assert {len(e.columns) for e in random.matrices.values()} == {2}
    assert random.origin.seed == 3
    mask = str(tmp_path / "r.safetensors")
    assert main(["random", "--init", small.init, "--percent", "5", "-o", mask]) == 0
    assert abs(ElementMask.load(mask).num_parameters - 0.05 * 1184) < 10
    path = str(tmp_path / "b.json")
    assert main(["bitfit", "--init", small.init, "-o", path]) == 0
    pretrained = Pretrained(small.init)
    assert Ticket.load(path).num_parameters == sum(m.out_features for m in pretrained.matrices)


EXTRACT = ["extract", "--init", "INIT", "--tuned", "INIT"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["show", "no.json"], "no.json: expected a ticket file, found none"),
        (["bitfit", "--init", "no.pt", "-o", "b.json"], "no.pt: expected a fairseq checkpoint"),
        (["bitfit", "--init", "INIT", "-o", "b.txt"], "expected a file name that ends in .json"),
        (["random", "--init", "INIT", "-k", "99", "-o", "r.json"], "got k = 99"),
        (["random", "--init", "INIT", "--percent", "0", "-o", "r.safetensors"], "percent"),
        (["extract", "--init", "INIT", "--tuned", "no.pt", "-o", "t.json"], "no.pt: expected"),
        ([*EXTRACT, "--sigma", "0", "-o", "t.json"], "sigma"),
        ([*EXTRACT, "-o", "t.safetensors"], "--output: expected a file name that ends in .json"),
        ([*EXTRACT, "-o", "t.json", "--mask", "m.json"], "--mask: expected a file name that ends"),
        ([*EXTRACT, "-o", "t.json", "--mask", "m.safetensors"], "from θ0, got none; lower"),
        (["bottom", *EXTRACT[1:], "-k", "1", "-o", "t.json"], "from θ0, got none; lower"),
        (["report", "INIT", "-o", "r"], "expected run folders"),
    ],
)
def test_bad_input_is_one_line_exit_2_and_nothing_written(
    arguments, message, small, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main([small.init if a == "INIT" else a for a in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_not_written_over(small, tmp_path, capsys):
    init = str(tmp_path / "base.pt")
    shutil.copy(small.init, init)
    before = Path(init).read_bytes()
    (tmp_path / "link.json").symlink_to(init)
    for target in (init, str(tmp_path / "link.json")):
        assert main(["bitfit", "--init", init, "-o", target]) == 2
        assert "--output: expected another file than the one of init" in capsys.readouterr().err
    assert Path(init).read_bytes() == before


def test_union_intersection_difference(small, tmp_path, capsys):
    paths = [str(tmp_path / f"{seed}.json") for seed in (1, 2, 3)]
    for seed, path in enumerate(paths, start=1):
        random = ["random", "--init", small.init, "-k", "3", "--seed", str(seed), "-o", path]
        assert main(random) == 0
    sets = [{(n, c) for n, e in Ticket.load(p).matrices.items() for c in e.columns} for p in paths]
    for name, expected in (
        ("union", sets[0] | sets[1] | sets[2]),
        ("intersection", sets[0] & sets[1] & sets[2]),
        ("difference", sets[0] - sets[1] - sets[2]),
    ):
        out = str(tmp_path / f"{name}.json")
        assert main([name, *paths, "-o", out]) == 0
        got = {(n, c) for n, e in Ticket.load(out).matrices.items() for c in e.columns}
        assert got == expected, name
    mask = str(tmp_path / "m.safetensors")
    assert main(["random", "--init", small.init, "--percent", "5", "-o", mask]) == 0
    assert main(["union", paths[0], mask, "-o", out]) == 2
    assert "expected a ticket of columns, got an element mask" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_an_output_that_is_full_and_one_of_few_letters(small, tmp_path):
    path = str(tmp_path / "ticket.json")
    command = [sys.executable, "-m", "fairseq_dwt"]
    given = [*command, "bitfit", "--init", small.init, "-o", path]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    told = subprocess.run(given, env=environment, capture_output=True, text=True, check=True)
    assert "wrote" in told.stdout
    with open("/dev/full", "w") as full:
        failed = subprocess.run(
            [*command, "show", path], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert failed.returncode == 2
    assert failed.stderr.endswith("error: standard output: No space left on device\n")
