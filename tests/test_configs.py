"""Every config file is found, headed, composed by its name alone, and has no unknown key."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from omegaconf import OmegaConf

import fairseq_dwt
from fairseq_dwt.glue.tasks import TASKS
from tests.conftest import compose

CONFIGS = pathlib.Path(fairseq_dwt.__file__).parent / "configs"
METHODS = ["bitfit", "dwt", "full", "random", "ticket"]
NAMED = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "base")


def test_there_are_forty():
    assert sorted(f"{method}_{task}" for method in METHODS for task in TASKS) == NAMED


def test_every_file_is_used():
    """No file lies around that no named config reaches."""
    reached = {CONFIGS / "base.yaml"}
    for name in NAMED:
        path = CONFIGS / f"{name}.yaml"
        reached.add(path)
        for default in yaml.safe_load(path.read_text())["defaults"]:
            if isinstance(default, dict):
                ((group, option),) = default.items()
                reached.add(CONFIGS / group / f"{option}.yaml")
    assert set(CONFIGS.rglob("*.yaml")) == reached


@pytest.mark.parametrize("name", NAMED)
def test_the_header_says_what_it_needs_and_how_to_launch(name):
    text = (CONFIGS / f"{name}.yaml").read_text()
    header = " ".join(line[1:].strip() for line in text.splitlines() if line.startswith("#"))
    assert "Needs: " in header
    assert f"fairseq-hydra-train --config-name {name} task.data=data-bin/" in header
    assert "checkpoint.finetune_from_model=roberta.large/model.pt" in header


@pytest.mark.parametrize("name", NAMED)
def test_it_composes_and_every_key_is_known(name):
    cfg = compose(name, ["task.cwd=/", "task.data=d", "checkpoint.finetune_from_model=m.pt"]
                  + (["optimizer.ticket=t.json"] if name.startswith("ticket") else []))  # fmt: skip
    assert OmegaConf.is_missing(cfg.task, "data") is False
    method, _, task = name.partition("_")
    glue = TASKS[task]
    assert cfg.task.num_classes == glue.num_classes
    assert cfg.task.regression_target == glue.regression
    assert cfg.checkpoint.best_checkpoint_metric == glue.best_metric
    assert cfg.checkpoint.maximize_best_checkpoint_metric
    assert cfg.common.user_dir == str(CONFIGS.parent)
    assert cfg.lr_scheduler.total_num_update == cfg.optimization.max_update
    assert round(0.06 * cfg.optimization.max_update) == cfg.lr_scheduler.warmup_updates
    _check_keys(cfg)
    if method == "dwt":
        optimizer = cfg.optimizer
        assert cfg.criterion.l1_lambda == 1e-3 and cfg.task.sigma == 5e-5
        assert optimizer.weight_decay == 0
    else:
        optimizer = cfg.optimizer if method == "full" else cfg.optimizer.wrapped_optimizer
        assert optimizer.weight_decay == 0.1
    assert (optimizer.adam_betas, optimizer.adam_eps) == ("(0.9, 0.98)", 1e-6)
    assert cfg.dataset.batch_size == 16


def _check_keys(cfg):
    """Each nested config must merge into the dataclass that its _name registers."""
    from fairseq.dataclass.utils import merge_with_parent
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    def dataclass(kind, name):
        return REGISTRIES[kind]["dataclass_registry"][name]()

    merge_with_parent(TASK_DATACLASS_REGISTRY[cfg.task._name](), cfg.task)
    for kind in ("criterion", "optimizer", "lr_scheduler"):
        merge_with_parent(dataclass(kind, cfg[kind]._name), cfg[kind])
    for kind in ("criterion", "optimizer"):
        if f"wrapped_{kind}" in cfg[kind]:
            wrapped = cfg[kind][f"wrapped_{kind}"]
            merge_with_parent(dataclass(kind, wrapped._name), wrapped)


def test_an_unknown_key_fails_the_check_above():
    with pytest.raises(Exception, match="sgima"):
        _check_keys(compose("dwt_rte", ["task.cwd=/", "task.data=d", "+task.sgima=1"]))
