"""Packed execution computes what the padded batch gives, of real tokens alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fairseq_dwt import DwtError
from fairseq_dwt.find.controls import random_columns
from fairseq_dwt.model.anatomy import ticket_layers
from fairseq_dwt.model.encoder import use_sdpa
from fairseq_dwt.model.packed import use_packed
from fairseq_dwt.model.packing import PackedSoftmax, Packing
from fairseq_dwt.ticket import Origin
from fairseq_dwt.train.compact import make_compact
from tests.conftest import WORDS, roberta
from tests.memory import kept_for_backward

LENGTHS = {
    "random": [7, 3, 18, 1, 12, 11, 10, 2],
    "one length": [6, 6, 6],
    "one token": [1, 1],
    "one row": [9],
}


def batch(lengths):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.ones(len(lengths), max(lengths), dtype=torch.int64)
    for row, length in enumerate(lengths):
        tokens[row, :length] = torch.randint(4, 30, (length,), generator=generator)
    tokens[:, 0] = 0
    return tokens


def both(normalize_before=False):
    model = roberta(WORDS).double()
    model.register_classification_head("head", num_classes=3, inner_dim=8)
    model.double().train()
    for module in model.modules():
        if hasattr(module, "normalize_before"):
            module.normalize_before = normalize_before
    padded, packed = model, copy.deepcopy(model)
    use_sdpa(padded)
    use_packed(packed)
    assert list(packed.state_dict()) == list(padded.state_dict())
    return padded, packed


def gradients(model, loss):
    loss.backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("normalize_before", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("read", ["head", "features"])
@pytest.mark.parametrize("frozen", [False, True], ids=["full", "frozen"])
def test_the_same_numbers_as_padded(frozen, read, lengths, normalize_before):
    padded, packed = both(normalize_before)
    for model in (padded, packed):  # of frozen layers queries and keys are computed again
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.requires_grad_(not frozen)
    tokens = batch(lengths)
    found = []
    for model in (padded, packed):
        head = {"classification_head_name": "head"} if read == "head" else {"features_only": True}
        out = model(tokens, **head)[0]
        if read == "features":
            out = out[tokens != 1]
        weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
        found.append((out.detach(), gradients(model, (out.square() * weight).sum())))
    torch.testing.assert_close(found[1][0], found[0][0], atol=1e-10, rtol=1e-10)
    assert found[1][1].keys() == found[0][1].keys()
    for name, grad in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], grad, atol=1e-10, rtol=1e-10, msg=name)


def test_padding_is_not_computed_and_the_last_layer_is_of_s_alone():
    _, packed = both()
    tokens, seen = batch(LENGTHS["random"]), {}
    for name, module in packed.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(
                lambda m, x, y, name=name: None if seen.setdefault(name, len(x[0])) else None
            )
    packed(tokens, classification_head_name="head")
    real, rows = int((tokens != 1).sum()), len(tokens)
    layers = {name: rows_of for name, rows_of in seen.items() if ".layers." in name}
    last = {n: r for n, r in layers.items() if ".layers.1." in n}
    assert set(layers.values()) == {real, rows}
    assert {n.rpartition(".")[2] for n, r in last.items() if r == real} == {"k_proj", "v_proj"}
    assert all(r == real for n, r in layers.items() if n not in last)


def test_features_are_padded_with_zeros_and_positions_are_the_rows_own():
    padded, packed = both()
    tokens = batch(LENGTHS["random"])
    features = packed(tokens, features_only=True)[0]
    assert features.shape == (*tokens.shape, 8)
    assert not features[tokens == 1].any()
    hidden = packed(tokens, features_only=True, return_all_hiddens=True)[1]["inner_states"]
    expected = padded(tokens, features_only=True, return_all_hiddens=True)[1]["inner_states"]
    for one, other in zip(hidden, expected):
        torch.testing.assert_close(
            one.transpose(0, 1)[tokens != 1], other.transpose(0, 1)[tokens != 1]
        )


def test_dropout_drops_as_often_and_a_seed_repeats_it():
    model = roberta(WORDS, dropout=0.2).train()
    model.register_classification_head("head", num_classes=3, inner_dim=8)
    use_packed(model)
    tokens, runs = batch(LENGTHS["random"]), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(model(tokens, classification_head_name="head")[0])
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_gradients_of_attention_with_dropout(p):
    """Against differences, the dropped weights held."""
    packing = Packing(batch([4, 2, 3, 4]) != 1)
    q, k, v = (torch.randn(13, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))

    def attend(*tensors):
        torch.manual_seed(3)
        return PackedSoftmax.apply(*tensors, 2, packing, p)

    assert torch.autograd.gradcheck(attend, (q, k, v))
    first = torch.randn(4, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(attend, (first, k, v))


def test_groups_hold_every_token_once_and_little_padding():
    lengths = torch.randint(1, 100, (64,), generator=torch.Generator().manual_seed(1)).tolist()
    packing = Packing(batch(lengths) != 1)
    tokens = torch.cat([group.tokens for group in packing.groups])
    assert torch.equal(tokens.sort().values, torch.arange(sum(lengths)))
    assert sum(group.index.numel() for group in packing.groups) < 1.2 * sum(lengths)
    with_none = Packing(torch.tensor([[True, False], [False, False]]))
    assert [group.rows.tolist() for group in with_none.groups] == [[0]]


def test_what_it_cannot_serve_is_refused():
    model = roberta(WORDS)
    model.encoder.sentence_encoder.return_fc = True
    with pytest.raises(DwtError, match="task.attention=sdpa"):
        use_packed(model)


def test_the_encoder_itself_gives_all_tokens_after_a_head_has_read_the_first():
    _, packed = both()
    tokens = batch(LENGTHS["random"])
    packed(tokens, classification_head_name="head")
    assert packed.encoder.extract_features(tokens)[0].shape == (*tokens.shape, 8)


def test_layers_that_are_dropped_at_random_are_packed_too():
    from fairseq.modules import LayerDropModuleList

    model = roberta(WORDS).train()
    encoder = model.encoder.sentence_encoder
    encoder.layers = LayerDropModuleList(1.0, encoder.layers)  # all are dropped in training
    use_packed(model)
    tokens = batch(LENGTHS["random"])
    assert model(tokens, features_only=True)[0].shape == (*tokens.shape, 8)
    model.eval()
    plain = roberta(WORDS).eval()
    use_sdpa(plain)
    expected = plain(tokens, features_only=True)[0]
    found = model(tokens, features_only=True)[0]
    torch.testing.assert_close(found[tokens != 1], expected[tokens != 1], atol=1e-5, rtol=1e-5)


def test_a_ticket_keeps_a_third_of_what_full_fine_tuning_keeps():
    """RoBERTa-large's layers and proportions, a sixteenth as wide and long."""
    widths = {"encoder_embed_dim": 64, "encoder_ffn_embed_dim": 256, "encoder_attention_heads": 4}
    kept, sizes = {}, {"encoder_layers": 24, **widths}
    for name in ("full", "ticket"):
        model = roberta(WORDS, dropout=0.1, **sizes).train()
        model.register_classification_head("head", num_classes=2)
        if name == "ticket":
            use_packed(model)
            shapes = {n: p.shape for n, p in model.named_parameters()}
            matrices = list(ticket_layers(shapes).values())
            make_compact(model, random_columns(matrices, 1, 1, Origin("random")))
        kept[name] = kept_for_backward(
            model, lambda m=model: m(batch([16] * 16), classification_head_name="head")
        )
    assert kept["ticket"] < 0.35 * kept["full"]
