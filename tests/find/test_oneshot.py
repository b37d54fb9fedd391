"""One-shot tickets: the column norms of the gradients, without the gradients."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from fairseq_dwt import DwtError
from fairseq_dwt.find.oneshot import ColumnScores, Settling, column_norms, find_ticket, rank
from fairseq_dwt.model.anatomy import ticket_layers
from fairseq_dwt.model.names import named_matrices
from fairseq_dwt.ticket import Origin
from tests.conftest import WORDS, roberta

ORIGIN = Origin("oneshot")
PAD = 1


@pytest.fixture
def model():
    """A tiny RoBERTa with a head, attention through its modules."""
    from fairseq_dwt.model.encoder import use_sdpa

    model = roberta(WORDS)
    model.register_classification_head("sentence_classification_head", num_classes=2)
    use_sdpa(model)
    return model.eval()


def batch(seed, rows=5, length=7):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, len(WORDS), (rows, length), generator=generator)
    tokens[:, 0], tokens[0, 4:] = 0, PAD
    return tokens, torch.randint(2, (rows,), generator=generator)


def loss_of(model):
    def loss(sample):
        tokens, targets = sample
        logits, _ = model(
            tokens, features_only=True, classification_head_name="sentence_classification_head"
        )
        return F.cross_entropy(logits, targets)

    return loss


def dense(model, batches):
    """{matrix: Σ_b ‖dW_j‖²}, by torch's own dense gradients."""
    model = copy.deepcopy(model)
    layers = ticket_layers({n: p.shape for n, p in model.named_parameters()})
    modules, sums = dict(model.named_modules()), {}
    for sample in batches:
        model.zero_grad()
        loss_of(model)(sample).backward()
        for name, matrix in layers.items():
            grads = modules[name].weight.grad, modules[name].bias.grad.unsqueeze(1)
            norms = torch.cat(grads, dim=1).double().square().sum(0)
            sums[matrix.name] = sums.get(matrix.name, 0) + norms
    return sums


@pytest.mark.parametrize("tokens, outs, ins", [(3, 40, 50), (200, 4, 6), (1, 1, 1), (7, 7, 7)])
def test_column_norms_by_either_product(tokens, outs, ins):
    torch.manual_seed(tokens)
    x, dy = torch.randn(tokens, 2, ins), torch.randn(tokens, 2, outs)
    dy[0, 1] = 0  # padding
    linear = nn.Linear(ins, outs)
    linear(x).backward(dy)
    expected = torch.cat([linear.weight.grad, linear.bias.grad.unsqueeze(1)], 1).square().sum(0)
    torch.testing.assert_close(column_norms(x, dy), expected, rtol=1e-5, atol=1e-6)


def test_no_gradient_at_all_is_zero():
    assert column_norms(torch.ones(3, 4), torch.zeros(3, 2)).tolist() == [0.0] * 5


def test_the_sums_are_those_of_dense_gradients(model):
    batches = [batch(seed) for seed in range(3)]
    expected = dense(model, batches)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with ColumnScores(model) as scores:
        for sample in batches:
            scores.backward(loss_of(model)(sample))
            assert all(p.grad is None for p in model.parameters())
    assert scores.sums.keys() == expected.keys() and len(expected) == 12
    for name, norms in expected.items():
        torch.testing.assert_close(scores.sums[name], norms, rtol=1e-3, atol=1e-12)
        assert (norms > 0).all()
    # nothing is left of it
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    loss_of(model)(batch(9)).backward()
    torch.testing.assert_close(scores.sums[name], norms, rtol=1e-3, atol=1e-12)


def test_a_pass_without_gradients_is_not_counted(model):
    with ColumnScores(model) as scores:
        for _ in range(2):
            with torch.no_grad():
                loss_of(model)(batch(0))
        scores.backward(loss_of(model)(batch(1)))
    for name, norms in dense(model, [batch(1)]).items():
        torch.testing.assert_close(scores.sums[name], norms, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("again", [False, True], ids=["plain", "checkpoint_activations"])
def test_a_batch_that_goes_through_a_matrix_several_times_has_one_gradient(again):
    """As fairseq's sentence_ranking: ‖Σ dW‖², of which a softmax leaves the bias nothing."""
    linear = nn.Linear(3, 2)
    answers = torch.randn(4, 5, 3, requires_grad=True)

    def loss():
        run = functools.partial(checkpoint, linear, use_reentrant=True) if again else linear
        logits = torch.stack([run(answer).sum() for answer in answers])
        run(answers[0])  # nobody reads this one
        return torch.nn.functional.cross_entropy(logits, torch.tensor(1))

    loss().backward()
    expected = torch.cat([linear.weight.grad, linear.bias.grad.unsqueeze(1)], 1).square().sum(0)
    (matrix,) = named_matrices({"layers.0.fc1": (2, 3)})
    with ColumnScores(linear, layers={"": matrix}) as scores:
        for _ in range(2):
            scores.backward(loss())
    torch.testing.assert_close(
        scores.sums[matrix.name], 2 * expected.double(), rtol=1e-4, atol=1e-8
    )
    assert expected[3] < 1e-8 < expected[0]


def test_ranks_by_the_norm_and_breaks_ties_by_index():
    scores = {"a": torch.tensor([1.0, 4.0, 0.0, 4.0]), "b": torch.zeros(4)}
    ticket = rank(scores, {"a": (2, 3), "b": (2, 3)}, ORIGIN)
    assert ticket.matrices["a"].columns == (1, 3, 0)  # the third column has no gradient
    assert "b" not in ticket.matrices and ticket.ranked
    assert rank(scores, {"a": (2, 3), "b": (2, 3)}, ORIGIN, limit=1).num_parameters == 2


def test_goes_on_until_the_ranking_settles(model):
    told = []
    ticket, history = find_ticket(
        model,
        loss_of(model),
        (batch(seed) for seed in range(1000)),
        ORIGIN,
        on_settling=told.append,
    )
    assert told == history and ticket.origin.num_batches == history[-1].batches
    assert [settling.batches for settling in history] == [2**i for i in range(1, len(history) + 1)]
    assert all(settling.top3 < 0.9 for settling in history[:-1])
    assert history[-1].top3 >= 0.9 or history[-1].batches == 64
    again, _ = find_ticket(
        model, loss_of(model), map(batch, range(1000)), ORIGIN, number=ticket.origin.num_batches
    )
    assert again == ticket


def test_one_batch_repeated_settles_at_once(model):
    ticket, history = find_ticket(model, loss_of(model), [batch(0)] * 9, ORIGIN)
    assert history == [Settling(2, 1.0, 1.0)] and ticket.origin.num_batches == 2


def test_a_batch_that_skips_every_layer_is_no_ranking(model):
    """As with layerdrop: its loss has no gradient, and two such batches agree about nothing."""
    loss = loss_of(model)
    skipping = iter([True, True, True, False, False, False, False, False])
    ticket, history = find_ticket(
        model, lambda b: loss(b).detach() if next(skipping) else loss(b), [batch(0)] * 8, ORIGIN
    )
    assert [settling.batches for settling in history] == [8] and ticket.origin.num_batches == 8


def test_looks_at_as_many_batches_as_asked(model):
    ticket, history = find_ticket(model, loss_of(model), map(batch, range(9)), ORIGIN, number=5)
    assert ticket.origin.num_batches == 5 and [s.batches for s in history] == [2, 4]
    norms = dense(model, [batch(seed) for seed in range(5)])
    for name, entry in ticket.matrices.items():
        assert entry.columns[0] == int(norms[name].argmax()), name


@pytest.mark.parametrize("number, batches, message", [
    (None, 0, "expected some batches of train data, got 0"),
    (3, 2, "expected 3 batches of train data, got 2"),
    (0, 2, "expected one batch or more, got 0"),
])  # fmt: skip
def test_refuses_too_few_batches(number, batches, message, model):
    with pytest.raises(DwtError, match=message):
        find_ticket(model, loss_of(model), [batch(i) for i in range(batches)], ORIGIN, number)


def test_refuses_gradients_that_are_no_numbers(model):
    def loss(sample):
        return loss_of(model)(sample) * float("inf")

    with pytest.raises(DwtError, match="expected finite numbers"):
        find_ticket(model, loss, [batch(0)] * 2, ORIGIN)


def test_refuses_a_loss_without_gradient(model):
    def loss(sample):
        return loss_of(model)(sample) * 0

    with pytest.raises(DwtError, match="depends on the model"):
        find_ticket(model, loss, [batch(0)] * 2, ORIGIN)
    assert all(p.requires_grad for p in model.parameters())
