"""The sweeps by their real command: many runs, launched again, killed in between."""

from __future__ import annotations

import shutil

import hydra
import pytest
import torch
from packaging.version import Version

from fairseq_dwt.checkpoint import load_checkpoint
from tests.conftest import weights, write_data, write_roberta
from tests.processes import HYDRA_TRAIN, python

needs_sweeps = pytest.mark.skipif(
    Version(hydra.__version__) < Version("1.2"), reason="sweeps need hydra 1.2 or later"
)
GRID = ["glue=mrpc,rte", "optimizer.k=1", "optimization.lr=[1e-2]", "common.seed=1,2"]
QUICK = ["optimization.max_update=8", "lr_scheduler.warmup_updates=0", "common.fp16=false"]
RUNS = [f"random_{task}/k1_lr0.01_seed{seed}" for task in ("mrpc", "rte") for seed in (1, 2)]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder in which the sweep has run once."""
    folder = tmp_path_factory.mktemp("sweep")
    for task in ("MRPC", "RTE"):
        write_data(str(folder / "data-bin" / task))
    write_roberta(str(folder / "model.pt"), str(folder / "data-bin" / "RTE"))
    sweep(folder)
    return folder


def sweep(folder, *overrides):
    changed = [override.partition("=")[0] for override in overrides]
    grid = [setting for setting in GRID if setting.partition("=")[0] not in changed]
    return launch(folder, "random_glue", *grid, *overrides)


def launch(folder, name, *overrides):
    return python(
        *HYDRA_TRAIN, "--config-name", name, *QUICK, "checkpoint.finetune_from_model=model.pt",
        *overrides, cwd=folder, CUDA_VISIBLE_DEVICES="",
    )  # fmt: skip


def log(folder, run):
    return (folder / "runs" / run / "hydra_train.log").read_text()


def same(folder, other, run, file="checkpoint_last.pt"):
    a, b = (weights(str(f / "runs" / run / file)) for f in (folder, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@needs_sweeps
def test_every_run_has_its_folder_log_and_ticket(swept):
    for run in RUNS:
        assert "done training" in log(swept, run)
        assert (swept / "runs" / run / "ticket.json").is_file()
    # seeds differ: other columns, other weights
    one, two = (weights(str(swept / "runs" / run / "checkpoint_last.pt")) for run in RUNS[:2])
    assert any(not torch.equal(one[name], two[name]) for name in one)


@needs_sweeps
def test_launched_again_it_skips_what_is_finished_and_resumes_the_rest(swept, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(swept, again)
    shutil.rmtree(again / "runs" / RUNS[3])  # never begun
    shutil.rmtree(again / "runs" / RUNS[1])  # stopped after 4 of 8 updates
    sweep(again, "glue=mrpc", "common.seed=2", "optimization.stop_time_hours=1e-9")
    stopped = load_checkpoint(str(again / "runs" / RUNS[1] / "checkpoint_last.pt"))
    assert 0 < stopped["optimizer_history"][-1]["num_updates"] < 8
    out = sweep(again)
    assert out.count("this run has finished already") == 2
    for run in RUNS:
        assert same(swept, again, run), run


@needs_sweeps
def test_a_run_of_a_sweep_is_the_run_that_one_has_alone(swept, tmp_path):
    """Nothing leaks from job to job: neither fairseq's best score nor its patience."""
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("data-bin", "model.pt"):
        (alone / name).symlink_to(swept / name)
    sweep(alone, "glue=rte", "common.seed=2")
    for file in ("checkpoint_last.pt", "checkpoint_best.pt"):
        assert same(swept, alone, RUNS[3], file)
    best = [load_checkpoint(str(f / "runs" / RUNS[3] / "checkpoint_best.pt"))["extra_state"]["best"]
            for f in (swept, alone)]  # fmt: skip
    assert best[0] == best[1]


@needs_sweeps
def test_the_folders_are_those_of_the_single_commands(swept):
    """So that a sweep finds what was run alone, and the other way round."""
    alone = ["optimizer.k=1", "optimization.lr=[1e-2]", "common.seed=1"]
    assert "this run has finished already" in launch(swept, "random_mrpc", *alone)


@needs_sweeps
def test_through_submitit(swept, tmp_path):
    """In processes of their own, as on Slurm."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    for name in ("data-bin", "model.pt"):
        (tmp_path / name).symlink_to(swept / name)
    sweep(tmp_path, "hydra/launcher=submitit_local", "glue=mrpc")
    for run in RUNS[:2]:
        assert same(swept, tmp_path, run)


@needs_sweeps
def test_random_elements_draw_anew_for_each_seed(train, tmp_path):
    from fairseq_dwt.ticket import load_ticket

    digests = set()
    for seed in (1, 2):
        folder = train(
            "elements_glue", "glue=rte", f"common.seed={seed}",
            folder=tmp_path / str(seed),
        )  # fmt: skip
        mask = load_ticket(f"{folder}/ticket.safetensors")
        share = {round(100 * m.float().mean().item(), 1) for m in mask.masks.values()}
        assert max(share) <= 5.6 and min(share) >= 4.1, share  # of 72 elements or more, rounded
        digests.add(mask.digest())
    assert len(digests) == 2
