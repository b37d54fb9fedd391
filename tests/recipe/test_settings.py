"""The settings ``ticket.*``, from either of fairseq's launchers."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

import pytest
from fairseq.dataclass.utils import omegaconf_no_object_check
from omegaconf import OmegaConf

from fairseq_dwt import DwtError
from fairseq_dwt.patches.add_defaults import add_defaults
from fairseq_dwt.recipe.settings import (
    TicketSettings,
    add_flags,
    add_section,
    import_user_dir,
    take_settings,
)
from fairseq_dwt.run.precision import settle_precision


def test_a_config_without_them_has_none():
    assert take_settings(OmegaConf.create({"task": {}})) is None


def test_the_section_is_taken_out_and_numbers_are_numbers():
    root = OmegaConf.create({"ticket": {"file": "random", "k": "3", "percent": None}})
    assert take_settings(root) == TicketSettings(file="random", k=3)
    assert "ticket" not in root


def test_flags_are_the_same_settings():
    parser = ArgumentParser()
    add_flags(parser)
    args = parser.parse_args(["--ticket-l1-lambda", "1e-3", "--ticket-step", "subgradient"])
    root = add_section(OmegaConf.create({}), args)
    assert take_settings(root) == TicketSettings(l1_lambda=1e-3, step="subgradient")
    assert "ticket" not in add_section(OmegaConf.create({}), parser.parse_args([]))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "got neither"),
        ({"file": "random", "l1_lambda": 1.0}, "got both"),
        ({"file": "random", "columns": 3}, "ticket.columns: expected one of"),
        ({"file": "random", "k": "three"}, "ticket.k: expected int, got 'three'"),
        ({"file": "random", "k": 1.5}, "ticket.k: expected int"),
        ({"file": "random", "k": float("inf")}, "ticket.k: expected int, got inf"),
        ({"file": "random", "mode": "fast"}, "ticket.mode: expected compact or masked"),
        ({"l1_lambda": 1.0, "sigma": 0.0}, "ticket.sigma: expected a positive threshold"),
        ({"l1_lambda": -1.0}, "ticket.l1_lambda: expected a number"),
        ({"l1_lambda": 1.0, "step": "newton"}, "ticket.step: expected proximal or subgradient"),
        ({"file": "oneshot", "seed": 2}, "ticket.seed: expected none with ticket.file=oneshot"),
        ("oneshot", "ticket: expected settings such as"),
    ],
)
def test_refused(given, told):
    with pytest.raises(DwtError, match=told.replace("(", r"\(")):
        take_settings(OmegaConf.create({"ticket": given}))


@pytest.mark.parametrize(
    "argv", [["--ticket-user-dir", "/nowhere"], ["+ticket.user_dir=/nowhere"], ["--task", "x"]]
)
def test_a_recipes_own_user_dir_is_imported_first(argv):
    if "/nowhere" in str(argv):
        with pytest.raises(DwtError, match="ticket.user_dir: expected the folder .* /nowhere"):
            import_user_dir(argv)
    else:
        assert import_user_dir(argv) is None


def test_it_may_stand_in_a_config():
    with pytest.raises(DwtError, match="ticket.user_dir: expected the folder .* /nowhere"):
        add_defaults(OmegaConf.create({"ticket": {"file": "random", "user_dir": "/nowhere"}}))


def test_an_older_optimizer_of_flags_settles_its_precision():
    common = dict.fromkeys(("tpu", "amp", "fp16", "bf16"), False)
    flags = Namespace(optimizer="adamax", lr=[0.1])
    with omegaconf_no_object_check():
        settle_precision(OmegaConf.create({"common": {**common, "cpu": True}, "optimizer": flags}))
