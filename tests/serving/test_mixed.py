"""Many tasks in a batch: each row's logits are those of its own merged model."""

from __future__ import annotations

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import Tuned
from fairseq_dwt.delta import export
from fairseq_dwt.find.controls import bitfit, random_columns, random_elements
from fairseq_dwt.model.encoder import use_sdpa
from fairseq_dwt.serving import DeltaHost, MixedTasks
from fairseq_dwt.serving.model import load_roberta
from fairseq_dwt.ticket import origin_of
from tests.conftest import WORDS, fine_tuned, roberta

TASKS = ["one", "three", "bias", "none", "some"]


@pytest.fixture(scope="module")
def deltas(pretrained, deltas_of):
    origin = origin_of("random", pretrained)
    some = random_columns(pretrained.matrices[::2], 2, 3, origin)
    tickets = {
        "one": random_columns(pretrained.matrices, 1, 1, origin),
        "three": random_columns(pretrained.matrices, 3, 2, origin),
        "bias": bitfit(pretrained.matrices, origin),
        "none": random_columns(pretrained.matrices, 0, 1, origin),
        "some": some.union(random_columns(pretrained.matrices, 1, 9, origin)),
    }
    return deltas_of(tickets)


def batch(rows, seed=0):
    """Tokens (rows, 9), every third row padded."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, 30, (rows, 9), generator=generator)
    tokens[:, 0] = 0
    tokens[::3, 5:] = 1
    return tokens


def alone(pretrained, delta, tokens):
    model = load_roberta(pretrained)
    DeltaHost(model).attach("x", delta)
    with torch.no_grad():
        return model(tokens, features_only=True, classification_head_name="x")[0]


@pytest.mark.parametrize("served", [TASKS, ["bias"], ["none"], ["three", "some"]])
def test_rows_get_the_logits_of_their_own_merged_model(served, pretrained, deltas):
    mixed = MixedTasks(load_roberta(pretrained))
    for name in served:
        mixed.add(name, deltas[name])
    tokens = batch(13)
    tasks = [served[(3 * i) % len(served)] for i in range(13)]
    logits = mixed(tokens, tasks)
    for name in served:
        expected = alone(pretrained, deltas[name], tokens)
        for row in [i for i, task in enumerate(tasks) if task == name]:
            torch.testing.assert_close(logits[row], expected[row], atol=2e-5, rtol=0)
    if len(served) > 1:  # or nothing was tested
        assert not torch.allclose(
            alone(pretrained, deltas[served[0]], tokens)[:, :2], expected[:, :2]
        )


def test_tasks_come_and_go_and_the_model_is_as_it_was(pretrained, deltas):
    model = load_roberta(pretrained)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    tokens = batch(4)
    features = model(tokens, features_only=True)[0]
    mixed = MixedTasks(model)
    for name in ("one", "three", "bias"):
        mixed.add(name, deltas[name])
    mixed(tokens, ["one", "three", "bias", "one"])
    mixed.remove("three")
    assert mixed.tasks == ["one", "bias"]
    mixed.add("some", deltas["some"])
    logits = mixed(tokens, ["bias", "some", "one", "bias"])
    expected = alone(pretrained, deltas["some"], tokens)[1]
    torch.testing.assert_close(logits[1], expected, atol=2e-5, rtol=0)
    with pytest.raises(DwtError, match="three: expected one of the tasks served .one, bias, some."):
        mixed(tokens, ["three"] * 4)
    with pytest.raises(DwtError, match="expected one for each of 4 rows, got 3"):
        mixed(tokens, ["one"] * 3)
    # without a task it is the base
    assert torch.equal(model(tokens, features_only=True)[0], features)
    mixed.close()
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert torch.equal(model(tokens, features_only=True)[0], features)


def test_refuses_single_entries(pretrained, tmp_path):
    ticket = random_elements(pretrained.matrices, 5, 1, origin_of("random", pretrained))
    tuned = Tuned(fine_tuned(pretrained, ticket, tmp_path / "t.pt"))
    mixed = MixedTasks(load_roberta(pretrained))
    with pytest.raises(DwtError, match="expected a delta of columns, got one of single entries"):
        mixed.add("x", export(pretrained, tuned, ticket, tuned.labels))
    assert mixed.tasks == []


def test_an_attention_that_goes_around_its_modules_is_noticed(pretrained, deltas):
    stock = roberta(WORDS).eval()
    stock.load_state_dict(load_roberta(pretrained).state_dict())
    mixed = MixedTasks(stock)
    mixed.add("one", deltas["one"])
    with pytest.raises(DwtError, match="of 12 layers were gone around"):
        mixed(batch(2), ["one", "one"])


def test_a_padded_encoder_gives_the_same_logits(pretrained, deltas):
    tokens, tasks = batch(4), ["one", "three", "one", "three"]
    padded = roberta(WORDS).eval()
    padded.load_state_dict(load_roberta(pretrained).state_dict())
    use_sdpa(padded)
    found = []
    for model in (padded, load_roberta(pretrained)):
        mixed = MixedTasks(model)
        for name in ("one", "three"):
            mixed.add(name, deltas[name])
        found.append(mixed(tokens, tasks))
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
