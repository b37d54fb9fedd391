"""Every config file is found, headed, composed by its name alone, and has no unknown key."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from omegaconf import OmegaConf

import fairseq_dwt
from fairseq_dwt.glue.suite import TASKS
from tests.conftest import compose

CONFIGS = pathlib.Path(fairseq_dwt.__file__).parent / "configs"
METHODS = ["bitfit", "dwt", "full", "random", "ticket"]
NAMED = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "base")
SWEEPS = [name for name in NAMED if name.endswith("_glue")]
SINGLE = [name for name in NAMED if name not in SWEEPS]


def test_there_are_forty_and_the_sweeps():
    assert sorted(f"{method}_{task}" for method in METHODS for task in TASKS) == SINGLE
    assert sorted(f"{method}_glue" for method in [*METHODS, "elements"]) == SWEEPS


def test_every_file_is_used():
    """No file lies around that no named config reaches; the launcher is the user's to name."""
    reached = {CONFIGS / "base.yaml", CONFIGS / "hydra" / "launcher" / "slurm.yaml"}
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
    data = "" if name in SWEEPS else "task.data=data-bin/"
    assert f"fairseq-hydra-train --config-name {name} {data}" in header
    assert "checkpoint.finetune_from_model=roberta.large/model.pt" in header


@pytest.mark.parametrize("name", SINGLE)
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


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps_hold_the_papers_grid(name):
    """Section 4.1: the learning rates, five seeds, eight tasks; stage 1: four tasks, four seeds."""
    method = name.partition("_")[0]
    text = yaml.safe_load((CONFIGS / "sweep" / f"{method}.yaml").read_text())["hydra"]
    grid = {key: str(value).split(",") for key, value in text["sweeper"]["params"].items()}
    rates = grid.get("optimization.lr", ["[1e-05]"])
    rates = [float(rate.strip("[]")) for rate in rates]
    if method == "dwt":
        assert sorted(grid["glue"]) == ["mnli", "qnli", "qqp", "sst_2"]
        assert rates == [1e-5] and len(grid["common.seed"]) == 4
        return
    assert sorted(grid["glue"]) == sorted(TASKS)
    assert rates == ([1e-5, 2e-5, 3e-5, 5e-5] if method == "full" else [5e-5, 1e-4, 2e-4, 4e-4])
    assert grid["common.seed"] == list("12345")
    assert ("optimizer.k" in grid) == (method in ("random", "ticket"))
    # the folder of a run is the one that the single command has
    single = yaml.safe_load((CONFIGS / "method" / f"{method}.yaml").read_text())["hydra"]["run"]
    tail = single["dir"].partition("/")[2].partition("/")[2]
    assert text["sweep"]["subdir"] == f"{method}_${{hydra:runtime.choices.glue}}/{tail}"


def test_slurm_asks_for_one_gpu_memory_and_time():
    text = yaml.safe_load((CONFIGS / "hydra" / "launcher" / "slurm.yaml").read_text())
    assert "submitit_slurm" in text["defaults"]
    assert (text["gpus_per_node"], text["tasks_per_node"]) == (1, 1)
    assert text["mem_gb"] and text["timeout_min"] and text["cpus_per_task"]
