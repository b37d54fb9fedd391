"""Forward tickets: the sizes of the matrices' inputs, whatever lays the tokens out."""

from __future__ import annotations

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.find.forward import InputSizes, find_forward
from fairseq_dwt.model.anatomy import anatomy_of
from fairseq_dwt.model.encoder import use_sdpa
from fairseq_dwt.model.names import ALL_KINDS, kind_of
from fairseq_dwt.model.packed import use_packed
from fairseq_dwt.model.through_modules import use_modules
from fairseq_dwt.ticket import Origin
from tests.conftest import WORDS, roberta
from tests.translation import layers_of, translation

ORIGIN = Origin("forward")
PAD = 1


def batch(seed, rows=5, length=7):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, len(WORDS), (rows, length), generator=generator)
    tokens[:, 0], tokens[0, 4:], tokens[3, 2:] = 0, PAD, PAD
    return tokens


def model_with(lay_out):
    torch.manual_seed(0)
    model = roberta(WORDS)
    lay_out(model)
    return model.eval()


def rms_of_single_rows(model, batches, name):
    """The same from rows without padding, one at a time."""
    seen, layer = [], dict(model.named_modules())[f"encoder.sentence_encoder.{name}"]
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(0, -2)))
    with torch.no_grad():
        for tokens in batches:
            for row in tokens:
                model(row[row != PAD][None], features_only=True)
    hook.remove()
    of_rows = [torch.stack([row.mean(0) for row in seen]), torch.stack([row[0] for row in seen])]
    return [part.square().mean(0).sqrt() for part in (torch.cat(seen), *of_rows)]


def features(model):
    return lambda tokens: model(tokens, features_only=True)


@pytest.mark.parametrize("lay_out", [use_sdpa, use_packed])
def test_padding_is_not_counted_and_the_first_token_is_s(lay_out):
    model, batches = model_with(lay_out), [batch(0), batch(1)]
    sizes = InputSizes(model)
    with sizes:
        for tokens in batches:
            sizes.look(lambda t=tokens: features(model)(t))
    for name in ("layers.0.self_attn.k_proj", "layers.1.fc1", "layers.1.fc2"):
        found, expected = sizes.rms(name), rms_of_single_rows(model, batches, name)
        for part, alone in zip(found, expected):
            torch.testing.assert_close(part[:-1].float(), alone, rtol=1e-4, atol=1e-5)
            assert part[-1] == 1
        torch.testing.assert_close(sizes.scores(name), found[1] + found[2])


def test_each_side_of_a_translation_model_knows_its_own_padding():
    """A source padded on the left, a target on the right; keys across are the encoder's."""
    model = translation().eval()
    use_modules(model)
    layers = layers_of(model)
    source = torch.tensor([[PAD, PAD, 5, 6, 7], [8, 9, 10, 11, 12]])
    target = torch.tensor([[2, 13, 14, 15], [2, 16, PAD, PAD]])
    with InputSizes(model, layers) as sizes:
        sizes.look(lambda: model(source, torch.tensor([3, 5]), target))
    with InputSizes(model, layers) as alone:
        alone.look(lambda: model(source[:1, 2:], torch.tensor([3]), target[:1]))
        alone.look(lambda: model(source[1:], torch.tensor([5]), target[1:, :2]))
    assert sizes.tokens == alone.tokens and sizes.rows == alone.rows
    assert {sizes.tokens[n] for n in sizes.tokens if n.startswith("encoder")} == {8}
    by_kind = {kind_of(n): count for n, count in sizes.tokens.items() if n.startswith("decoder")}
    across = {"XK": 8, "XV": 8}
    assert by_kind == {**dict.fromkeys(ALL_KINDS, 6), **across}
    for name in sizes.matrices:
        for found, expected in zip(sizes.rms(name), alone.rms(name)):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_a_dimension_that_the_norm_blows_up_comes_first():
    model = model_with(use_packed)
    with torch.no_grad():
        model.encoder.sentence_encoder.layers[0].self_attn_layer_norm.weight[3] = 50.0
    model.train()
    ticket, history = find_forward(model, features(model), [batch(0), batch(1)], ORIGIN)
    assert model.training and len(history) == 1
    assert ticket.matrices["layers.0.fc1"].columns[0] == 3
    assert ticket.origin.num_batches == 2
    again, _ = find_forward(model, features(model), [batch(0), batch(1)], ORIGIN)
    assert again.digest() == ticket.digest()  # without dropout


def test_what_is_no_number_and_no_text_are_refused():
    model = model_with(use_packed)
    with pytest.raises(DwtError, match="forward: expected some batches of train data, got 0"):
        find_forward(model, features(model), [], ORIGIN)
    with torch.no_grad():
        model.encoder.sentence_encoder.layers[0].self_attn_layer_norm.weight[3] = float("nan")
    with pytest.raises(DwtError, match="forward: matrix layers.0.fc1: expected finite numbers"):
        find_forward(model, features(model), [batch(0)], ORIGIN)


def test_a_layer_without_attention_and_one_that_is_not_called_are_refused():
    model = model_with(use_packed)
    layers = anatomy_of(model).layers
    strange = {f"{name}.self_attn.fc1": m for name, m in layers.items() if m.kind == "FC1"}
    with pytest.raises(DwtError, match="expected a layer with attention .*self_attn"):
        with InputSizes(model, strange):
            pass
    with InputSizes(model) as sizes:
        sizes.look(lambda: None)
    with pytest.raises(DwtError, match="computed a batch without this one"):
        sizes.ticket(ORIGIN)
