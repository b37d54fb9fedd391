"""Hydra as its users use it: multiruns without chdir, configs of one's own on ours, no limits."""

from __future__ import annotations

import os

import hydra
import pytest
from omegaconf import OmegaConf

from fairseq_dwt import DwtError
from fairseq_dwt.run.config import compose, resolve_paths
from fairseq_dwt.ticket import Ticket
from tests.processes import COMMON, HYDRA_TRAIN, finish, start

#: The example of docs/reproducing.md.
OWN = """# @package _global_
defaults:
  - base
  - glue: rte
  - method: ticket
  - _self_

optimizer:
  ticket: bitfit
  k: null
"""
new_hydra = pytest.mark.skipif(hydra.__version__ < "1.2", reason="hydra 1.0 always changes folder")


@new_hydra
def test_a_multirun_without_chdir_keeps_a_folder_a_run(small, tmp_path):
    output = finish(start(
        *HYDRA_TRAIN, "-m", "--config-name", "dwt_rte", *COMMON, "common.seed=1,2",
        f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=${common.seed}", "hydra.job.chdir=false",
        cwd=small.folder,
    ))  # fmt: skip
    assert "has finished already" not in output
    for seed in ("1", "2"):
        found = set(os.listdir(tmp_path / seed))
        assert {"checkpoint_last.pt", "ticket.json", "run.json", "hydra_train.log"} <= found
    assert not [name for name in os.listdir(small.folder) if name.startswith("checkpoint")]


@pytest.fixture
def own(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_rte.yaml").write_text(OWN)
    return str(tmp_path / "mine")


@new_hydra
def test_a_config_of_ones_own_builds_on_ours(own, small, tmp_path):
    finish(start(
        *HYDRA_TRAIN, "--config-dir", own, "--config-name", "my_rte", *COMMON,
        f"hydra.run.dir={tmp_path}/run", cwd=small.folder,
    ))  # fmt: skip
    assert Ticket.load(f"{tmp_path}/run/ticket.json").origin.method == "bitfit"


@new_hydra
def test_it_composes_as_it_runs(own):
    cfg = compose("my_rte", ["task.cwd=/", "checkpoint.finetune_from_model=x"], own)
    assert cfg.task._name == "ticket_finetune" and cfg.optimizer.ticket == "bitfit"
    assert cfg.lr_scheduler.warmup_updates == 94 and cfg.dataset.batch_size == 16
    # and ours compose as before
    assert compose("full_rte", ["task.cwd=/"]).optimizer._name == "adam"


def test_an_own_config_that_does_not_name_ours_does_not_meet_them(small, tmp_path):
    (tmp_path / "plain.yaml").write_text("# @package _group_\ntask:\n  _name: masked_lm\n")
    process = start(
        *HYDRA_TRAIN, "--config-dir", str(tmp_path), "--config-name", "plain", "glue=rte",
        cwd=small.folder,
    )  # fmt: skip
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0 and "glue" in output


def test_a_methods_word_is_no_file_of_its_name(tmp_path):
    (tmp_path / "random").write_text("of the user's")
    for given, found in (("random", "random"), ("./random", f"{tmp_path}/random")):
        root = OmegaConf.create({"optimizer": {"ticket": given}})
        resolve_paths(root, str(tmp_path))
        assert root.optimizer.ticket == found


def test_no_limit_of_updates_needs_a_schedule(train):
    unlimited = ["optimization.max_update=0", "optimization.max_epoch=1"]
    with pytest.raises(DwtError, match="lr_scheduler.total_num_update: expected the number of up"):
        train("full_rte", *unlimited)
    folder = train("full_rte", *unlimited, "lr_scheduler.total_num_update=12")
    assert os.path.isfile(f"{folder}/checkpoint_last.pt")


@pytest.mark.parametrize("setting", ["optimization.max_epoch=0", "checkpoint.patience=-1"])
def test_the_other_values_without_a_limit_train(setting, train):
    assert os.path.isfile(f"{train('full_rte', setting)}/checkpoint_last.pt")
