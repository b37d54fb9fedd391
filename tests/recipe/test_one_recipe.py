"""What is the same in all recipes, on one of them, the language model."""

from __future__ import annotations

import re
import shutil

import pytest
import torch

from fairseq_dwt.checkpoint import load_checkpoint
from fairseq_dwt.cli import main
from fairseq_dwt.model.roberta import is_copy
from fairseq_dwt.ticket import Ticket
from tests.recipe.families import FAMILIES, USER_DIR, assert_same, prepare, ticket_run

STEPS = ["--lr", "0.003", "--max-update", "8"]


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    prepare(FAMILIES["language_modeling"], folder)
    return FAMILIES["language_modeling"], folder


def weights(folder, name):
    state = load_checkpoint(f"{folder}/{name}/checkpoint_last.pt")["model"]
    return {n: t for n, t in state.items() if not is_copy(n) and not n.endswith("_float_tensor")}


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
    # of Adafactor's the proximal step is not known
    step = {"step": "subgradient"} if "adafactor" in more else {}
    family.train(folder, "more", *STEPS, *more, *ticket_run(l1_lambda=1e-7, **step))
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
    "pruned": (
        ["--ticket-file", "random", "--ticket-k", "1", "--decoder-layers-to-keep", "0"],
        "model.decoder_layers_to_keep: expected all layers of the pre-trained file, got 0",
    ),
    "suffix": (
        ["--ticket-file", "random", "--ticket-k", "1", "--checkpoint-suffix", "_a"],
        "checkpoint.checkpoint_suffix: it puts several runs' checkpoints",
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
