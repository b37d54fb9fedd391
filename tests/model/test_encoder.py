"""use_sdpa: the numbers of fairseq's encoder, in training and in evaluation."""

from __future__ import annotations

import copy

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.model.encoder import SdpaAttention, use_sdpa
from tests.conftest import WORDS, roberta

HEAD = "sentence_classification_head"


@pytest.fixture(scope="module")
def models():
    """The same RoBERTa as fairseq has it and made lean, with dropout 0.3 everywhere."""
    theirs = roberta(WORDS, dropout=0.3)
    theirs.register_classification_head(HEAD, num_classes=2)
    ours = copy.deepcopy(theirs)
    use_sdpa(ours)
    return theirs, ours


def tokens(padded: bool) -> torch.Tensor:
    batch = torch.randint(4, 30, (3, 6), generator=torch.Generator().manual_seed(0))
    if padded:
        batch[1, 4:] = batch[2, 2:] = 1
    return batch


def logits(model, padded, seed=0):
    torch.manual_seed(seed)
    out, _ = model(tokens(padded), features_only=True, classification_head_name=HEAD)
    return out


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_same_outputs_and_gradients(models, padded, training):
    results = []
    for model in models:
        model.train(training)
        model.zero_grad()
        out = logits(model, padded)
        out.square().sum().backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        results.append((out.detach(), gradients))
    (theirs, their_gradients), (ours, our_gradients) = results
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert list(our_gradients) == list(their_gradients)
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_dropout_is_for_training_alone(models):
    _, ours = models
    ours.train()
    assert not torch.equal(logits(ours, False, seed=1), logits(ours, False, seed=2))
    ours.eval()
    assert torch.equal(logits(ours, False, seed=1), logits(ours, False, seed=2))


def test_padding_is_not_attended_to(models):
    _, ours = models
    ours.eval()
    short = ours(tokens(True)[2:, :2], features_only=True, classification_head_name=HEAD)[0]
    torch.testing.assert_close(logits(ours, True)[2:], short, atol=1e-5, rtol=0)


def test_state_dict_and_copies_stay(models):
    theirs, ours = models
    assert list(ours.state_dict()) == list(theirs.state_dict())
    again = copy.deepcopy(ours)
    assert isinstance(again.encoder.sentence_encoder.layers[0].self_attn, SdpaAttention)


def test_refuses_what_is_more_than_self_attention():
    odd = roberta(WORDS)
    odd.encoder.sentence_encoder.layers[1].self_attn.add_zero_attn = True
    with pytest.raises(DwtError, match="layers.1.self_attn: expected a plain self-attention"):
        use_sdpa(odd)
    ours = roberta(WORDS)
    use_sdpa(ours)
    x = torch.randn(2, 1, 8)
    with pytest.raises(DwtError, match="expected self-attention without weights"):
        ours.encoder.sentence_encoder.layers[0].self_attn(x, x, x, need_weights=True)
