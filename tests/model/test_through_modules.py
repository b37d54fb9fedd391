"""Any model's attention through its modules: stock gradients, of compact columns too, in float64."""

from __future__ import annotations

import argparse
import copy

import pytest
import torch
from fairseq.modules.quant_noise import quant_noise

from fairseq_dwt import DwtError
from fairseq_dwt.find.controls import random_columns
from fairseq_dwt.model.anatomy import Anatomy
from fairseq_dwt.model.names import ticket_matrices
from fairseq_dwt.model.through_modules import ModulesAttention, attend, use_modules
from fairseq_dwt.ticket import Origin
from fairseq_dwt.train.compact import make_compact
from tests.memory import kept_for_backward
from tests.translation import build, translation


@pytest.fixture
def transformer():
    return translation()


def loss(model, length=7):
    generator = torch.Generator().manual_seed(1)
    source = torch.randint(4, 24, (3, length), generator=generator)
    source[1, :3] = 1  # padded on the left, as fairseq does
    target = torch.randint(4, 24, (3, length - 2), generator=generator)
    out, _ = model(source, torch.tensor([length, length - 3, length]), target)
    return (out.square() * torch.linspace(-1, 1, out.numel()).view_as(out)).sum()


def test_compact_gradients_are_stock_ones_of_every_kind_of_matrix(transformer, monkeypatch):
    # fairseq's own, which it takes for cross-attention, rounds to fp32
    monkeypatch.setattr("fairseq.utils.softmax", lambda x, dim, onnx_trace=False: x.softmax(dim))
    stock, lean = transformer, copy.deepcopy(transformer)
    expected = loss(stock)
    expected.backward()
    use_modules(lean)
    shapes = {n: p.shape for n, p in lean.named_parameters()}
    matrices = ticket_matrices(shapes)
    assert {m.kind for m in matrices} == set("Q K V O XQ XK XV XO FC1 FC2".split())
    assert {m.in_features for m in matrices if m.kind == "XK"} == {16}
    ticket = random_columns(matrices, 3, 1, Origin("random"))
    layers = {m.weight.removesuffix(".weight"): m for m in matrices}
    make_compact(lean, ticket, Anatomy(layers, frozenset(), {}))
    found = loss(lean)
    found.backward()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    dense, modules = dict(stock.named_parameters()), dict(lean.named_modules())
    for name, matrix in layers.items():
        module, weight = modules[name], dense[matrix.weight].grad
        if hasattr(module, "columns"):
            torch.testing.assert_close(
                module.columns.grad, weight[:, module.index], rtol=1e-10, atol=1e-10
            )
        if module.bias.grad is not None:
            torch.testing.assert_close(
                module.bias.grad, dense[matrix.bias].grad, rtol=1e-10, atol=1e-10
            )


def test_every_attention_that_trains_is_lean_but_the_one_whose_weights_are_asked_for(
    transformer, monkeypatch
):
    """fairseq's decoder asks its last layer for the weights of its cross-attention."""
    attended = []
    monkeypatch.setattr(
        "fairseq_dwt.model.through_modules.attend",
        lambda *given: attended.append(len(given)) or attend(*given),
    )
    use_modules(transformer)
    loss(transformer.train())
    attentions = [m for m in transformer.modules() if isinstance(m, ModulesAttention)]
    assert len(attended) == len(attentions) - 1


@pytest.mark.parametrize("need_weights", [False, True])
def test_weights_and_incremental_decoding_go_fairseqs_own_way(transformer, need_weights):
    stock, lean = transformer.eval(), copy.deepcopy(transformer).eval()
    use_modules(lean)
    source = torch.randint(4, 24, (2, 6), generator=torch.Generator().manual_seed(2))
    target = torch.randint(4, 24, (2, 4), generator=torch.Generator().manual_seed(3))
    found = []
    for model in (stock, lean):
        memory = model.encoder(source, torch.tensor([6, 6]))
        state, steps = {}, []
        for length in range(1, 5):
            out, extra = model.decoder(target[:, :length], memory, incremental_state=state)
            steps.append(out)
            assert (extra["attn"][0] is not None) or not need_weights
        found.append(torch.cat(steps, 1))
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-10)


def test_a_ticket_keeps_half_of_what_full_fine_tuning_keeps():
    """transformer-base's layers and proportions, an eighth as wide; the vocabulary aside."""
    widths = {"encoder_embed_dim": 64, "encoder_ffn_embed_dim": 256, "encoder_attention_heads": 8}
    widths |= {name.replace("encoder", "decoder"): size for name, size in widths.items()}
    sizes = {"encoder_layers": 6, "decoder_layers": 6, "decoder_output_dim": 64, **widths}
    kept = {}
    for name in ("full", "ticket"):
        model = build(argparse.Namespace(dropout=0.1, attention_dropout=0.1, **sizes))
        if name == "ticket":
            use_modules(model)
            matrices = ticket_matrices({n: p.shape for n, p in model.named_parameters()})
            layers = {m.weight.removesuffix(".weight"): m for m in matrices}
            ticket = random_columns(matrices, 1, 1, Origin("random"))
            make_compact(model, ticket, Anatomy(layers, frozenset(), {}))
        kept[name] = kept_for_backward(model, lambda m=model: loss(m, length=8))
    assert kept["ticket"] < 0.55 * kept["full"]


def test_quantization_noise_is_refused(transformer):
    """It sets weights to zero for good, inside a ticket and outside."""
    use_modules(copy.deepcopy(transformer))
    quant_noise(transformer.encoder.layers[0].fc2, p=0.1, block_size=8)
    with pytest.raises(DwtError, match="encoder.layers.0.fc2: .* got quantization noise"):
        use_modules(transformer)


def test_fairseqs_fast_inference_does_not_go_around_the_modules(transformer):
    """Of 0.12.2: only layers that never ran in training take it."""
    transformer.encoder.layers[0].ever_training = False
    use_modules(transformer)
    assert transformer.encoder.layers[0].ever_training is True
