"""What only a GPU computes: fused attention with dropout, serving, several devices. `make gpu`."""

from __future__ import annotations

import pytest
import torch

from fairseq_dwt.checkpoint import Pretrained, Tuned
from fairseq_dwt.delta import export
from fairseq_dwt.model.attention import attend
from fairseq_dwt.serving import DeltaHost, MixedTasks
from fairseq_dwt.serving.model import load_roberta
from fairseq_dwt.ticket import Ticket
from tests.processes import COMMON, HYDRA_TRAIN, finish, start

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: make gpu")
HALVES = (torch.float16, torch.bfloat16)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("padded", [False, True])
def test_attention_is_that_of_the_cpu(dtype, padded):
    torch.manual_seed(0)
    q, k, v = (torch.randn(33, 4, 64) for _ in range(3))
    excluded = torch.zeros(4, 33, dtype=torch.bool)
    excluded[1:, 20:] = padded
    expected = attend(q, k, v, 4, excluded if padded else None, 0.0)
    on_gpu = (t.to("cuda", dtype) for t in (q, k, v))
    found = attend(*on_gpu, 4, excluded.cuda() if padded else None, 0.0)
    torch.testing.assert_close(found.float().cpu(), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("dtype", HALVES)
def test_dropped_attention_has_the_mean_of_the_whole_and_gradients(dtype):
    torch.manual_seed(0)
    q, k, v = (torch.randn(16, 2, 64, device="cuda", dtype=dtype) for _ in range(3))
    v.requires_grad_()
    whole = attend(q, k, v, 2, None, 0.0).float()
    mean = torch.stack([attend(q, k, v, 2, None, 0.1).float() for _ in range(400)]).mean(0)
    assert (mean - whole).abs().mean() < 0.02
    attend(q, k, v, 2, None, 0.1).float().sum().backward()
    assert v.grad.isfinite().all() and v.grad.any()


@pytest.mark.parametrize("dtype", HALVES)
def test_deltas_and_mixed_batches(dtype, train, small):
    folder = train("bitfit_rte", "optimization.lr=[0.05]")
    pretrained = Pretrained(small.init)
    ticket = Ticket.load(f"{folder}/ticket.json")
    delta = export(pretrained, Tuned(f"{folder}/checkpoint_last.pt"), ticket, ["0", "1"])
    tokens = torch.tensor([[0, 5, 6, 2], [0, 7, 2, 1]], device="cuda")
    model = load_roberta(pretrained, "cuda", dtype)
    host = DeltaHost(model, pretrained.fingerprint)
    with torch.no_grad():
        host.attach("rte", delta)
        alone = model(tokens, features_only=True, classification_head_name="rte")[0]
        host.detach("rte")
        mixed = MixedTasks(model, pretrained.fingerprint)
        mixed.add("rte", delta)
        together = torch.stack(mixed(tokens, ["rte", "rte"]))
    torch.testing.assert_close(together, alone, atol=0.03, rtol=0)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs several GPUs")
@pytest.mark.parametrize("backend", ["legacy_ddp", "pytorch_ddp"])
def test_several_gpus_train(backend, small, tmp_path):
    output = finish(start(
        *HYDRA_TRAIN, "--config-name", "dwt_rte", *COMMON, f"hydra.run.dir={tmp_path}",
        f"distributed_training.ddp_backend={backend}", cwd=small.folder,
    ))  # fmt: skip
    assert "Error" not in output
    assert Ticket.load(str(tmp_path / "ticket.json")).num_parameters > 0
