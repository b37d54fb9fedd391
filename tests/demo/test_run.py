"""The demo's plan: every command is one that our configs take, and what has finished stays as it is."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import compose

DEMO = Path(__file__).resolve().parents[2] / "examples" / "glue" / "demo"
sys.path.insert(0, str(DEMO))
_spec = importlib.util.spec_from_file_location("demo_run", DEMO / "run.py")
demo = importlib.util.module_from_spec(_spec)
sys.modules["demo_run"] = demo
_spec.loader.exec_module(demo)


def plan(study):
    train = demo.Training(study, jobs=1)
    methods = {**demo.WITHOUT_TICKET, **demo.WITH_TICKET}
    return [train.stage_1(), *train.stage_2(methods, seeds=[1])]


@pytest.fixture
def prepared(monkeypatch):
    """Studies whose model and data count as made."""
    monkeypatch.setattr(demo.Study, "command", lambda *_: None)
    monkeypatch.setattr(demo.os, "rename", lambda *_: None)


@pytest.mark.parametrize("study", [demo.real, demo.smoke])
def test_every_command_is_a_config_of_ours(study, prepared, tmp_path):
    study = study(str(tmp_path))
    commands = plan(study)
    assert len(commands) == 1 + 2 * 5  # stage 1; two tasks, five methods
    assert len({command[-1] for command in commands}) == len(commands)
    for command in commands:
        name, overrides = command[3], [w for w in command[4:] if not w.startswith("hydra.")]
        cfg = compose(name, ["task.cwd=/", *overrides])
        source = os.path.basename(cfg.task.data)
        assert cfg.optimization.max_update == study.updates[source]
        assert cfg.model.dropout == 0
        assert f"_{source}_" in command[-1] or command[-1] == "hydra.run.dir=runs/stage_1"


def test_started_again_it_trains_what_has_not_finished(small, tmp_path):
    for task in ("one", "two"):
        shutil.copytree(small.data, tmp_path / "data-bin" / task)
    study = demo.Study(
        folder=str(tmp_path), model=small.init, vocabulary=[], sentence="",
        tasks={"one": "rte", "two": "rte"}, updates={"one": 4, "two": 4},
        rates=dict.fromkeys(("stage 1", "full", "other"), "1e-3"),
        settings=["common.cpu=true", "dataset.batch_size=8"],
    )  # fmt: skip
    first, other = demo.Training(study, jobs=2), demo.Training(study, jobs=2)
    methods = {"random": ("ticket", ["optimizer.ticket=random"])}
    commands = [first.stage_1(), *first.stage_2(methods, [1])]
    first(commands)
    logs = [Path(folder) / "hydra_train.log" for folder in first.folders]
    assert sorted(log.parent.name for log in logs) == ["random_two_seed1", "stage_1"]
    whole, cut = (log.read_text() for log in sorted(logs))
    # as a run leaves it that was killed in its training
    killed = tmp_path / "runs" / "random_two_seed1"
    killed.joinpath("hydra_train.log").write_text(whole[: whole.index("done training")])
    other(commands)
    assert (tmp_path / "runs" / "stage_1" / "hydra_train.log").read_text() == cut
    assert len(killed.joinpath("hydra_train.log").read_text()) > len(whole)


def test_a_run_that_fails_ends_the_demo_with_its_words(small, tmp_path):
    study = demo.Study(
        folder=str(tmp_path), model="nowhere.pt", vocabulary=[], sentence="",
        tasks={"one": "rte"}, updates={"one": 4},
        rates=dict.fromkeys(("stage 1", "full", "other"), "1e-3"),
    )  # fmt: skip
    train = demo.Training(study, jobs=1)
    with pytest.raises(
        SystemExit, match="finetune_from_model: expected the pre-trained model.s file, found none"
    ):
        train([train.stage_1()])
