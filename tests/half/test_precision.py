"""Which precision a run trains in is settled in one place, and what contradicts it is refused."""

from __future__ import annotations

import os

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import load_checkpoint
from fairseq_dwt.run import precision
from fairseq_dwt.ticket import load_ticket
from tests.conftest import compose
from tests.half import machine_with_gpu
from tests.half.conftest import ON_GPU, trains_on_gpu
from tests.processes import COMMON, HYDRA_TRAIN, finish, start

MACHINE = HYDRA_TRAIN if ON_GPU else [os.path.abspath(machine_with_gpu.__file__)]


@pytest.fixture(autouse=True)
def without_imitation(monkeypatch):
    monkeypatch.setattr(precision, "trains_on_gpu", trains_on_gpu)


def settled(monkeypatch, *overrides, gpu=True):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    cfg = compose("full_rte", ["task.cwd=/", *overrides])
    precision.settle_precision(cfg)
    return cfg.common


@pytest.mark.parametrize(
    "typed, gpu, fp16",
    [
        ([], True, True),
        ([], False, False),
        (["common.cpu=true"], True, False),
        (["common.bf16=true"], True, False),
        (["common.bf16=true", "common.cpu=true"], True, False),
        (["common.fp16=false"], True, False),
        (["common.fp16=true"], True, True),
        (["common.memory_efficient_bf16=true"], True, False),
    ],
)
def test_fp16_is_chosen_where_a_gpu_trains_and_nothing_else_is_asked_for(
    typed, gpu, fp16, monkeypatch
):
    assert settled(monkeypatch, *typed, gpu=gpu).fp16 is fp16


@pytest.mark.parametrize(
    "typed, gpu, sentence",
    [
        (["common.fp16=true", "common.bf16=true"], True, "expected one precision, got both"),
        (["common.fp16=true", "common.cpu=true"], True, "on a GPU only, got common.cpu=true"),
        (["common.fp16=true"], False, "on a GPU only, got a machine without one"),
        (["common.amp=true"], True, "common.amp: fairseq's AMP optimizer divides .* twice"),
        (["common.amp=true"], False, "common.amp: fairseq's AMP optimizer divides .* twice"),
    ],
)
def test_what_contradicts_itself_is_refused(typed, gpu, sentence, monkeypatch):
    with pytest.raises(DwtError, match=sentence):
        settled(monkeypatch, *typed, gpu=gpu)


@pytest.mark.parametrize("setting", ["memory_efficient_fp16", "memory_efficient_bf16"])
@pytest.mark.parametrize("name", ["dwt_rte", "bitfit_rte"])
def test_weights_without_fp32_copies_are_refused(name, setting, train):
    with pytest.raises(DwtError, match=f"common.{setting}: it avoids fp32 copies"):
        train(name, f"common.{setting}=true")


def test_fairseqs_amp_optimizer_unscales_twice():
    """Why amp is refused: what it steps has been divided by the loss scale twice."""
    from fairseq.optim import FairseqOptimizer
    from fairseq.optim.amp_optimizer import AMPOptimizer

    class Sgd(FairseqOptimizer):
        def __init__(self, params):
            super().__init__(None)
            self._optimizer = torch.optim.SGD(params, lr=1.0)

    weight = torch.nn.Parameter(torch.zeros(1))
    amp = AMPOptimizer.__new__(AMPOptimizer)
    amp.fp32_optimizer = Sgd([weight])
    amp._grad_scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    amp.backward(weight.sum())
    amp.clip_grad_norm(0.0)
    assert weight.grad.item() == 1.0
    amp.step()
    assert weight.item() == -1 / 8


@pytest.mark.parametrize("more", [[], ["common.bf16=true"]])
def test_the_cpu_of_a_machine_with_a_gpu_trains(more, small, tmp_path):
    run = f"hydra.run.dir={tmp_path}"
    name = ["--config-name", "dwt_rte", "task.sigma=1e-3", "common.cpu=true"]
    output = finish(start(*MACHINE, *name, *COMMON, *more, run, cwd=small.folder))
    assert "Error" not in output
    assert load_ticket(str(tmp_path / "ticket.json")).num_parameters > 0
    common = load_checkpoint(str(tmp_path / "checkpoint_last.pt"))["cfg"]["common"]
    assert not common["fp16"] and bool(common["bf16"]) == bool(more)


def test_amp_there_is_one_sentence(small, tmp_path):
    run = ["--config-name", "dwt_rte", "common.amp=true", f"hydra.run.dir={tmp_path}"]
    process = start(*MACHINE, *run, *COMMON, cwd=small.folder)
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "common.amp: fairseq's AMP optimizer divides" in output
    assert not (tmp_path / "ticket.json").exists()
