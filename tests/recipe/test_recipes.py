"""Two settings turn each of fairseq's recipes into a ticket run, and stock fairseq takes the result."""

from __future__ import annotations

import json
import re

import pytest
import torch

from fairseq_dwt.any_checkpoint import open_pretrained
from fairseq_dwt.checkpoint import load_checkpoint
from fairseq_dwt.cli import main
from fairseq_dwt.delta.recipe import RecipeDelta
from fairseq_dwt.model.names import is_layer, kind_of
from fairseq_dwt.model.roberta import is_copy
from fairseq_dwt.ticket import Ticket
from tests.processes import python
from tests.recipe.families import FAMILIES, STOCK, assert_same, prepare, ticket_run


@pytest.fixture(scope="module", params=FAMILIES)
def run(request, tmp_path_factory):
    """A family and a folder with its pre-trained file, ``s1`` and ``s2``."""
    family = FAMILIES[request.param]
    if family.hydra:
        pytest.importorskip("soundfile")
        pytest.importorskip("editdistance")
    folder = tmp_path_factory.mktemp(request.param)
    try:
        prepare(family, folder)
    except AssertionError as error:
        if "conflicting option string" in str(error):
            pytest.skip("denoising and bart have a flag in common in fairseq 0.12.2")
        raise
    said = {}
    steps = ["--lr", "0.003", "--max-update", "6"]
    said["s1"] = family.train(folder, "s1", *steps, *ticket_run(l1_lambda=1e-7))
    ticket = f"{folder}/s1/ticket.json"
    stage_2 = ticket_run(file=ticket, k=1)
    said["s2"] = family.train(folder, "s2", *steps, *stage_2, validate=True)
    return family, folder, said


def moved(folder, run_of):
    """``{name in θ0's file: which entries changed}``, and the parameters that no file gave."""
    state = load_checkpoint(f"{folder}/{run_of}/checkpoint_last.pt")
    names, init = state["ticket"]["names"], open_pretrained(f"{folder}/pre/checkpoint_last.pt")
    tensors, found = {**init.tensors, **init.lm_head}, {}
    for name, canonical in names.items():
        before, now = tensors[canonical], state["model"][name]
        found[canonical] = before[: len(now)] != now  # BART drops its row of <mask>
    # tied parameters have one name among the parameters, and several in the state
    new = {n for n in state["model"] if n not in names and n not in tensors}
    new = {n for n in new if not n.endswith((".version", "_float_tensor")) and not is_copy(n)}
    return found, new


def test_stage_1_finds_a_ticket_of_every_matrix(run):
    family, folder, said = run
    ticket = Ticket.load(f"{folder}/s1/ticket.json")
    # of a matrix whose gradients are tiny nothing may have moved
    assert 0.9 * family.matrices <= len(ticket.matrices) <= family.matrices
    assert ticket.origin.base == open_pretrained(f"{folder}/pre/checkpoint_last.pt").fingerprint
    assert re.search(rf"stage 1, .*; {family.matrices} matrices", said["s1"])
    found, _ = moved(folder, "s1")
    assert {n for n, where in found.items() if where.any()} <= {n for n in found if is_layer(n)}


def test_stage_2_moves_the_ticket_and_nothing_else(run):
    family, folder, _ = run
    ticket = Ticket.load(f"{folder}/s2/ticket.json")
    assert {len(entry.columns) for entry in ticket.matrices.values()} == {1}
    init = open_pretrained(f"{folder}/pre/checkpoint_last.pt")
    found, new = moved(folder, "s2")
    parts = ticket.parts(init.matrices)
    inside = 0
    for name, where in found.items():
        if name in parts:
            inside += int(parts[name].read(where).sum())
            parts[name].write(where, torch.zeros(parts[name].values_shape))
        assert not where.any(), name
    assert inside > 0.3 * ticket.num_parameters
    assert {n for n in new if not any(part in n for part in family.head)} == set()
    assert bool(new) == bool(family.head)


def test_its_settings_are_the_recipes_own(run):
    family, folder, _ = run
    for name in ("s1", "s2"):
        state = load_checkpoint(f"{folder}/{name}/checkpoint_last.pt")
        assert state["cfg"]["common"]["user_dir"] == family.user_dir
        assert "ticket_" not in str(state["cfg"])
        assert "fairseq_dwt" not in str(state["cfg"])
        assert "ticket" not in state["cfg"]
        for section in ("criterion", "optimizer"):
            assert "wrapped" not in str(state["cfg"][section])


def score(said):
    """What the last validation printed: loss and, where there is one, accuracy or error rate."""
    *_, last = re.findall(r"valid on 'valid' subset \| (.*?) \| wps", said)
    facts = dict(fact.split(" ", 1) for fact in last.split(" | "))
    return {n: v for n, v in facts.items() if n in ("loss", "nll_loss", "ppl", "accuracy", "wer")}


def stock_tool(folder, name, *given):
    try:
        return python("-m", f"fairseq_cli.{name}", *given, cwd=folder, PYTHONPATH="", **STOCK)
    except AssertionError as error:
        if "_transformer_encoder_layer_fwd" in str(error):
            pytest.skip("fairseq 0.12.2's own fast path does not run with this torch")
        raise


def test_stock_fairseq_gives_the_runs_own_score(run):
    """In a process without the plugin."""
    family, folder, said = run
    own = [] if family.user_dir is None else ["--user-dir", family.user_dir]
    given = [*family.validate, *own, "--path", "s2/checkpoint_last.pt", "--cpu"]
    given += ["--valid-subset", "valid", "--log-format", "simple"]
    stock = stock_tool(folder, "validate", *given)
    assert score(stock) == score(said["s2"]) and score(stock)
    assert "fairseq_dwt" not in stock.replace(str(folder), "")


def test_stock_fairseq_decodes_it(run):
    family, folder, _ = run
    if family.tool is None:
        pytest.skip("no tool but fairseq-validate")
    given = ["--gen-subset", "valid", "--cpu", "--path", "s2/checkpoint_last.pt"]
    given += ["--beam", "2"] if family.tool == "generate" else []
    said = stock_tool(folder, family.tool, *family.validate, *given)
    assert re.search(r"BLEU4 = [\d.]+|Loss \(base 2\): [\d.]+|WER: [\d.]+", said), said[-500:]


def test_one_shot(run):
    family, folder, _ = run
    steps = ["--lr", "0.003", "--max-update", "2"]
    said = family.train(folder, "oneshot", *steps, *ticket_run(file="oneshot", k=1))
    ticket = Ticket.load(f"{folder}/oneshot/ticket.json")
    assert ticket.origin.method == "oneshot"
    assert len(ticket.matrices) == family.matrices
    assert "ticket oneshot" in said


def test_a_forward_ticket_and_the_reasons_of_one(run, monkeypatch, capsys):
    """By its settings in the checkpoint; a norm is found before all but O and FC2."""
    family, folder, _ = run
    steps = ["--lr", "0.003", "--max-update", "2"]
    said = family.train(folder, "forward", *steps, *ticket_run(file="forward", k=1))
    forward = Ticket.load(f"{folder}/forward/ticket.json")
    assert forward.origin.method == "forward" and "ticket forward" in said
    assert len(forward.matrices) == family.matrices
    monkeypatch.chdir(folder)
    given = ["--tuned", "s1/checkpoint_last.pt", "--ticket", "s1/ticket.json", "--batches", "3"]
    assert main(["explain", *given, "-o", "why"]) == 0
    data = json.loads((folder / "why" / "report.json").read_text())
    reasons = data["reasons"]
    assert len(reasons["inputs, tokens"]) == len(reasons["moved by L1"]) == family.matrices
    kinds = {name: kind_of(name) for name in reasons["inputs, tokens"]}
    unread = {name for name in kinds if name not in reasons["norm's γ"]}
    without = {"O", "XO", "FC2"}
    assert {name for name in kinds if kinds[name] in without} <= unread
    assert all(kinds[name] in without or "layers.0." in name for name in unread), unread
    capsys.readouterr()


def test_commands_know_it(run, monkeypatch, capsys):
    _, folder, _ = run
    monkeypatch.chdir(folder)
    tuned = ["--init", "pre/checkpoint_last.pt", "--tuned"]
    assert main(["verify", *tuned, "s2/checkpoint_last.pt", "--ticket", "s2/ticket.json"]) == 0
    assert main(["extract", *tuned, "s1/checkpoint_last.pt", "-o", "again.json"]) == 0
    assert Ticket.load("s1/ticket.json").digest() == Ticket.load("again.json").digest()
    assert main(["show", "s2/ticket.json"]) == 0
    assert main(["similarity", "again.json", "s1/ticket.json"]) == 0
    assert "bit-identical" in capsys.readouterr().out
    assert main(["verify", *tuned, "s1/checkpoint_last.pt", "--ticket", "s2/ticket.json"]) == 1


def test_a_delta_gives_the_checkpoint_back(run, monkeypatch, capsys):
    family, folder, _ = run
    monkeypatch.chdir(folder)
    init = ["--init", "pre/checkpoint_last.pt"]
    tuned = load_checkpoint("s2/checkpoint_last.pt")
    delta = ["export", *init, "--tuned", "s2/checkpoint_last.pt", "-o", "d.safetensors"]
    assert main(delta) == 0
    assert main(["apply", *init, "--delta", "d.safetensors", "-o", "merged.pt"]) == 0
    merged = load_checkpoint("merged.pt")
    weights = {n: t for n, t in tuned["model"].items() if not is_copy(n)}
    assert list(merged["model"]) == list(weights)
    assert_same(weights, merged["model"])
    for name in ("cfg", "args", "ticket"):
        assert merged[name] == tuned[name], name
    size = sum(t.numel() for t in tuned["model"].values())
    recipe = RecipeDelta.load("d.safetensors")
    kept = sum(t.numel() for t in (*recipe.values.values(), *recipe.own.values()))
    assert kept < 0.2 * size
    capsys.readouterr()
    assert main([*delta, "--ticket", "s1/ticket.json", "-k", "0"]) == 2
    assert "outside the ticket, got others in" in capsys.readouterr().err
    assert main(["verify", *init, "--tuned", "merged.pt", "--ticket", "s2/ticket.json"]) == 0
