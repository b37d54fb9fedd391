"""What must hold for any architecture, ticket and optimizer (hypothesis).

``DWT_FUZZ=1000 python -m pytest tests/test_properties.py`` tries that many cases each.
"""

from __future__ import annotations

import argparse
import copy
import os
from types import SimpleNamespace

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairseq_dwt.find.dominant import Movement
from fairseq_dwt.model.encoder import use_sdpa
from fairseq_dwt.model.names import Matrix, ticket_matrices
from fairseq_dwt.model.roberta import canonical_name
from fairseq_dwt.ticket import Columns, Origin, Ticket
from fairseq_dwt.train.compact import make_compact, write_back
from fairseq_dwt.train.masked import freeze_outside, frozen_entries_kept
from tests.conftest import WORDS

CASES = int(os.environ.get("DWT_FUZZ", "0"))
HEAD = "sentence_classification_head"


def cases(number):
    """So many, or as many as DWT_FUZZ asks for."""
    return settings(
        max_examples=CASES or number, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


# -- Algorithm 1 -----------------------------------------------------------------------------------


def algorithm_1(init, tuned, sigma, k):
    """The paper's Algorithm 1, read aloud: W and bias of θ0 and of θ, as nested lists."""
    weight0, bias0 = init
    weight, bias = tuned
    counted = []
    for dimension in range(len(weight[0]) + 1):
        count = 0
        for row in range(len(weight)):
            if dimension < len(weight[0]):
                moved = abs(weight[row][dimension] - weight0[row][dimension])
            else:
                moved = abs(bias[row] - bias0[row])
            count += moved > sigma
        counted.append((count, dimension))
    counted.sort(key=lambda pair: (-pair[0], pair[1]))  # ties go to the lower index
    return [dimension for count, dimension in counted if count > 0][:k]


@cases(200)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 8), st.integers(0, 2**31),
       st.sampled_from([1 / 16, 1 / 8, 3 / 16, 0.3]))  # fmt: skip
def test_selection_is_algorithm_1(outs, ins, k, seed, sigma):
    generator = torch.Generator().manual_seed(seed)
    matrix = Matrix(0, "FC1", "layers.0.fc1", outs, ins)

    def draw(*shape):
        # sixteenths are exact in fp32: ties, and differences of exactly σ, are common
        return torch.randint(-3, 4, shape, generator=generator) / 16

    init = {matrix.weight: draw(outs, ins), matrix.bias: draw(outs)}
    tuned = {name: tensor + draw(*tensor.shape) for name, tensor in init.items()}
    moved = Movement([matrix], init.__getitem__, tuned.__getitem__, sigma)
    ticket = moved.ticket(Origin("dominant"))
    found = ticket.top(k).matrices.get(matrix.name)
    expected = algorithm_1(
        *[[state[n].tolist() for n in (matrix.weight, matrix.bias)] for state in (init, tuned)],
        sigma, k,
    )  # fmt: skip
    assert ([] if found is None else list(found.columns)) == expected


# -- compact = masked ------------------------------------------------------------------------------


@st.composite
def architectures(draw):
    heads = draw(st.integers(1, 3))
    return dict(
        encoder_layers=draw(st.integers(1, 3)),
        encoder_embed_dim=heads * draw(st.sampled_from([2, 3, 4])),
        encoder_ffn_embed_dim=draw(st.integers(1, 12)),
        encoder_attention_heads=heads,
        encoder_normalize_before=draw(st.booleans()),
        max_positions=12,
    )


def build(sizes, seed):
    from fairseq.data import Dictionary
    from fairseq.models.roberta import RobertaModel

    dictionary = Dictionary()
    for word in [*WORDS, "<mask>"]:
        dictionary.add_symbol(word)
    torch.manual_seed(seed)
    args = argparse.Namespace(arch="roberta", dropout=0.0, attention_dropout=0.0, **sizes)
    model = RobertaModel.build_model(args, SimpleNamespace(source_dictionary=dictionary))
    model.register_classification_head(HEAD, num_classes=2)
    use_sdpa(model)
    return model.double().train()


def matrices_of(model):
    shapes = {canonical_name(name): p.shape for name, p in model.named_parameters()}
    return ticket_matrices({name: shape for name, shape in shapes.items() if name})


@st.composite
def tickets(draw, matrices):
    """Any columns of any matrices, the bias among them, in any order."""
    chosen = {}
    for matrix in matrices:
        columns = draw(st.lists(st.integers(0, matrix.in_features), max_size=4, unique=True))
        if columns:
            chosen[matrix.name] = Columns(matrix.shape, tuple(columns))
    return Ticket(chosen, Origin("random"))


def steps(model, optimizer_of, kept, updates=3, update_freq=1, clip=1.0, dtype=torch.float64):
    """Updates as fairseq's trainer makes them: accumulate, clip, step."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = optimizer_of(parameters)
    generator = torch.Generator().manual_seed(7)
    for _ in range(updates):
        optimizer.zero_grad()
        for _ in range(update_freq):
            tokens = torch.randint(4, len(WORDS), (3, 6), generator=generator)
            logits, _ = model(tokens, features_only=True, classification_head_name=HEAD)
            assert logits.dtype == dtype
            logits.square().sum().backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        kept(parameters, optimizer.step)
        write_back(model)


def restoring(parameters, step):
    with frozen_entries_kept(parameters, [p.param_group for p in parameters]):
        step()


def adafactor(parameters):
    from fairseq.optim.adafactor import Adafactor

    return Adafactor(parameters, lr=1e-2, relative_step=False, scale_parameter=False)


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.3),
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9, weight_decay=0.1),
}


def assert_outside_is_unmoved(state, before, matrices, ticket):
    """Bit by bit: every entry that the ticket does not hold, and what lies in no matrix."""
    trained = {m.weight for m in matrices} | {m.bias for m in matrices}
    for name, tensor in state.items():
        if name not in trained and "classification_heads" not in name:
            assert torch.equal(tensor, before[name]), name
    for matrix in matrices:
        entry = ticket.matrices.get(matrix.name)
        outside = torch.ones(matrix.in_features + 1, dtype=torch.bool)
        outside[list(entry.columns) if entry else []] = False
        assert torch.equal(
            state[matrix.weight][:, outside[:-1]], before[matrix.weight][:, outside[:-1]]
        )
        assert not outside[-1] or torch.equal(state[matrix.bias], before[matrix.bias])


@cases(40)
@given(st.data(), architectures(), st.integers(0, 99), st.sampled_from(sorted(OPTIMIZERS)),
       st.integers(1, 3), st.sampled_from([0.0, 0.1, 10.0]))  # fmt: skip
def test_compact_is_masked(data, sizes, seed, optimizer, update_freq, clip):
    compact = build(sizes, seed)
    masked, before = copy.deepcopy(compact), copy.deepcopy(compact.state_dict())
    matrices = matrices_of(compact)
    ticket = data.draw(tickets(matrices))
    assert make_compact(compact, ticket) == freeze_outside(masked, ticket) == ticket.num_parameters
    how = dict(update_freq=update_freq, clip=clip)
    steps(compact, OPTIMIZERS[optimizer], lambda _parameters, step: step(), **how)
    steps(masked, OPTIMIZERS[optimizer], restoring, **how)
    a, b = compact.state_dict(), masked.state_dict()
    assert a.keys() == b.keys() == before.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-7, atol=1e-9)
    for state in (a, b):
        assert_outside_is_unmoved(state, before, matrices, ticket)


@cases(40)
@given(st.data(), architectures(), st.integers(0, 99), st.sampled_from([*OPTIMIZERS, "adafactor"]),
       st.sampled_from([torch.bfloat16, torch.float32]), st.sampled_from(["compact", "masked"]),
       st.sampled_from([0.0, 0.1]))  # fmt: skip
def test_nothing_outside_moves(data, sizes, seed, optimizer, dtype, mode, clip):
    """Whatever the optimizer factors or rounds: the frozen entries keep their bits."""
    model = build(sizes, seed).to(dtype)
    before = copy.deepcopy(model.state_dict())
    matrices = matrices_of(model)
    ticket = data.draw(tickets(matrices))
    make = make_compact if mode == "compact" else freeze_outside
    assert make(model, ticket) == ticket.num_parameters
    kept = restoring if mode == "masked" else lambda _parameters, step: step()
    steps(model, {**OPTIMIZERS, "adafactor": adafactor}[optimizer], kept, clip=clip, dtype=dtype)
    state = model.state_dict()
    assert_outside_is_unmoved(state, before, matrices, ticket)
    assert any(not torch.equal(state[name], before[name]) for name in state)
