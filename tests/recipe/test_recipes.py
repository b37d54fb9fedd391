"""Two settings turn each of fairseq's recipes into a ticket run, and stock fairseq takes the result."""

from __future__ import annotations

import re
import shutil

import pytest
import torch

from fairseq_dwt.any_checkpoint import open_pretrained
from fairseq_dwt.checkpoint import load_checkpoint
from fairseq_dwt.cli import main
from fairseq_dwt.delta.recipe import RecipeDelta
from fairseq_dwt.model.names import is_layer
from fairseq_dwt.model.roberta import is_copy
from fairseq_dwt.ticket import Ticket
from tests.processes import python
from tests.recipe.families import FAMILIES, STOCK, USER_DIR, prepare, ticket_run


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


# -- one family, the language model, for what is the same in all ------------------------------------


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    prepare(FAMILIES["language_modeling"], folder)
    return FAMILIES["language_modeling"], folder


def weights(folder, name):
    state = load_checkpoint(f"{folder}/{name}/checkpoint_last.pt")["model"]
    return {n: t for n, t in state.items() if not is_copy(n) and not n.endswith("_float_tensor")}


def assert_same(one, other, **within):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        if within:
            torch.testing.assert_close(other[name], tensor, **within, msg=name)
        else:
            assert torch.equal(tensor, other[name]), name


STEPS = ["--lr", "0.003", "--max-update", "8"]


def test_without_settings_a_run_is_fairseqs_own(lm):
    family, folder = lm
    family.train(folder, "stock", *STEPS)
    family.train(folder, "imported", *STEPS, "--user-dir", USER_DIR)
    assert_same(weights(folder, "stock"), weights(folder, "imported"))


@pytest.mark.parametrize("settings", [{"l1_lambda": 1e-4}, {"file": "random", "k": 2}])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, settings):
    """Of masked_lm: of translation and language_modeling stock fairseq's does not either."""
    family, folder = FAMILIES["masked_lm"], tmp_path
    prepare(family, folder)
    name = "-".join(settings)
    epochs = ["--lr", "0.003", "--max-epoch"]
    family.train(folder, name, *epochs, "4", *ticket_run(**settings))
    family.train(folder, f"{name}-r", *epochs, "2", *ticket_run(**settings))
    family.train(folder, f"{name}-r", *epochs, "4", *ticket_run(**settings))
    assert_same(weights(folder, name), weights(folder, f"{name}-r"))


def test_compact_and_masked_agree(lm):
    family, folder = lm
    more = [*STEPS, "--dropout", "0", "--weight-decay", "0.1", "--clip-norm", "0.1"]
    for mode in ("compact", "masked"):
        family.train(folder, mode, *more, *ticket_run(file="random", k=2, mode=mode))
    assert_same(weights(folder, "compact"), weights(folder, "masked"), atol=1e-5, rtol=1e-4)


MORE = {
    "average": ["--store-ema", "--ema-decay", "0.9"],
    "checkpointing": ["--checkpoint-activations"],
    "accumulation": ["--update-freq", "2"],
    "an older optimizer, of flags": ["--optimizer", "adafactor"],
    "layers that are dropped": ["--decoder-layerdrop", "0.5"],
}


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
def test_what_else_a_recipe_may_ask_for(lm, more, monkeypatch):
    family, folder = lm
    monkeypatch.chdir(folder)
    shutil.rmtree("more", ignore_errors=True)
    family.train(folder, "more", *STEPS, *more, *ticket_run(file="oneshot", k=2))
    tuned = ["--init", "pre/checkpoint_last.pt", "--tuned", "more/checkpoint_last.pt"]
    assert main(["verify", *tuned, "--ticket", "more/ticket.json"]) == 0
    before = load_checkpoint("pre/checkpoint_last.pt")["model"]
    moved = [n for n, t in weights(folder, "more").items() if not torch.equal(t, before[n])]
    assert {n.split(".")[2] for n in moved} == {"0", "1"}
    shutil.rmtree("more")
    family.train(folder, "more", *STEPS, *more, *ticket_run(l1_lambda=1e-7))
    assert len(Ticket.load("more/ticket.json").matrices) == family.matrices


def test_the_papers_step_moves_weights_at_rest_and_the_proximal_one_does_not(lm):
    """At a rate above σ the subgradient has all weights jump about θ0."""
    family, folder = lm
    beyond = {}
    for step in ("subgradient", "proximal"):
        said = family.train(folder, step, *STEPS, *ticket_run(l1_lambda=0.03, step=step))
        beyond[step] = int(re.findall(r"for ([\d,]+) of", said)[-1].replace(",", ""))
        assert ("which is no skeleton" in said) == (step == "subgradient")
    assert beyond["proximal"] < 0.2 * beyond["subgradient"]


REFUSED = {
    "neither": (["--ticket-k", "1"], "got neither"),
    "both": (["--ticket-file", "random", "--ticket-l1-lambda", "1"], "got both"),
    "negative": (["--ticket-l1-lambda=-1"], "ticket.l1_lambda: expected a number"),
    "no file": (["--ticket-file", "random", "--ticket-k", "1"], "starts from a pre-trained file"),
    "sharded": (
        ["--ticket-file", "random", "--ticket-k", "1", "--zero-sharding", "os"],
        "zero_sharding: a ticket's optimizer states",
    ),
    "mode": (["--ticket-file", "random", "--ticket-mode", "fast"], "expected compact or masked"),
    "another model's": (["--ticket-file", "roberta.large/mnli"], "another model"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_sentence(lm, case):
    family, folder = lm
    flags, expected = REFUSED[case]
    with pytest.raises(AssertionError) as error:
        family.train(
            folder, "refused", *STEPS, "--user-dir", USER_DIR, *flags, start=case != "no file"
        )
    last = str(error.value).strip().splitlines()[-1]
    assert expected in last and "Traceback" not in str(error.value), str(error.value)[-800:]
