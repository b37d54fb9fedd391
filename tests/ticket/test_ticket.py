from __future__ import annotations

import json

import pytest

from fairseq_dwt import DwtError
from fairseq_dwt.model.names import Matrix
from fairseq_dwt.ticket import Columns, Origin, Ticket

Q = Matrix(layer=0, kind="Q", name="layers.0.self_attn.q_proj", out_features=4, in_features=3)


@pytest.fixture
def ticket():
    return Ticket(
        {Q.name: Columns((4, 3), (2, 3, 0), (4, 2, 1))},
        Origin("dominant", base="ab" * 32, base_parameters=160, sigma=5e-5, task="MNLI"),
    )


def test_top_k_keeps_the_first_k_and_drops_matrices_without_columns(ticket):
    assert ticket.top(1).matrices[Q.name] == Columns((4, 3), (2,), (4,))
    assert ticket.top(9) == ticket
    assert ticket.top(None) is ticket
    assert dict(ticket.top(0).matrices) == {}


def test_the_bias_is_a_part_of_its_own(ticket):
    parts = ticket.top(2).parts([Q])
    assert parts[Q.weight].columns.tolist() == [2]
    assert parts[Q.weight].mask().tolist() == [[False, False, True]]
    assert parts[Q.bias].is_whole and parts[Q.bias].shape == (4,)
    assert list(ticket.top(1).parts([Q])) == [Q.weight]
    assert ticket.top(0).parts([Q]) == {}


def test_sparsity_counts_a_bias_as_a_column(ticket):
    assert ticket.top(2).num_parameters == 8
    assert ticket.top(2).sparsity == 8 / 160


def test_roberta_large_k_1_of_the_papers_counts():
    """23 layers with all six matrices, layer 22 without K: 220,160 parameters (Table 1)."""
    shapes = {"Q": (1024, 1024), "K": (1024, 1024), "V": (1024, 1024), "O": (1024, 1024)}
    shapes.update(FC1=(4096, 1024), FC2=(1024, 4096))
    matrices = {
        f"layers.{layer}.{kind}": Columns(shape, (0,))
        for layer in range(24)
        for kind, shape in shapes.items()
        if (layer, kind) != (22, "K")
    }
    assert Ticket(matrices).num_parameters == 220_160


def test_saved_and_loaded_is_the_same(ticket, tmp_path):
    path = str(tmp_path / "ticket.json")
    ticket.save(path)
    assert Ticket.load(path) == ticket
    assert [p.name for p in tmp_path.iterdir()] == ["ticket.json"]
    # one matrix a line, so that a diff shows which changed
    assert sum(Q.name in line for line in (tmp_path / "ticket.json").read_text().splitlines()) == 1


def test_the_digest_is_of_what_is_trained_not_of_its_rank(ticket):
    other = Ticket({Q.name: Columns((4, 3), (0, 3, 2))}, Origin("random"))
    assert ticket.digest() == other.digest()
    assert ticket.digest() != ticket.top(2).digest()


@pytest.mark.parametrize(
    "columns, message",
    [
        (Columns((4, 3), (4,)), r"expected columns from 0 to 3 \(the bias\), got 4"),
        (Columns((4, 3), (-1,)), "got -1"),
        (Columns((4, 3), (1, 1)), "expected distinct columns"),
        (Columns((4, 3), (1,), (2, 1)), "expected one count per column"),
        (Columns((4, 3), (1,), (5,)), "expected counts from 1 to 4"),
        (Columns((4, 3), (1,), (0,)), "expected counts from 1 to 4"),
        (Columns((4, 3), (1, 2), (1, 2)), "descending"),
        (Columns((0, 3), (1,)), "of sizes from 1 to"),
    ],
)
def test_inconsistent_columns_are_refused(columns, message):
    with pytest.raises(DwtError, match=message):
        Ticket({Q.name: columns})


def change(ticket, **changes):
    data = json.loads(ticket.dumps())
    data.update(changes)
    return json.dumps(data)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"version": 2}, "expected ticket version 1, got 2; update fairseq_dwt"),
        ({"format": "other"}, 'expected "format": "fairseq_dwt.ticket"'),
        ({"matrices": {}}, 'expected a list "matrices", got dict'),
        ({"matrices": [3]}, "expected matrices as"),
        (
            {"matrices": [{"name": "layers.0.fc1", "shape": [4, 3], "columns": ["2"]}]},
            '"columns" as integers',
        ),
        (
            {"matrices": [{"name": "layers.0.fc1", "shape": [4], "columns": [2]}]},
            r"expected shape \[out, in\]",
        ),
        (
            {"matrices": [{"name": "layers.0.fc1", "shape": [4, 3], "columns": [7]}]},
            "f.json: matrix layers.0.fc1: expected",
        ),
        (
            {"matrices": 2 * [{"name": "layers.0.fc1", "shape": [4, 3], "columns": [2]}]},
            "appears twice",
        ),
        *(
            ({"matrices": [{"name": name, "shape": [4, 3], "columns": [2]}]}, f"got '{name}'")
            for name in ("foo.bar", "layers.x.fc1", "layers.0.fc3", "conv_layers.0.fc1")
        ),
        ({"sigma": "small"}, "\"sigma\": got 'small'"),
        ({"method": None}, 'expected "method"'),
    ],
)
def test_bad_files_are_refused_by_name(ticket, changes, message):
    with pytest.raises(DwtError, match=message):
        Ticket.loads(change(ticket, sha256=None, **changes), "f.json")


def test_a_change_is_noticed(ticket):
    changed = change(ticket, seed=11)
    with pytest.raises(DwtError, match='was altered: write it again, or remove "sha256"'):
        Ticket.loads(changed)
    data = json.loads(changed)
    del data["sha256"]
    assert Ticket.loads(json.dumps(data)).origin.seed == 11


def test_every_truncation_is_refused(ticket):
    text = ticket.dumps()
    for length in range(len(text) - 2):
        with pytest.raises(DwtError, match="f.json: expected a ticket"):
            Ticket.loads(text[:length], "f.json")


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(DwtError, match="cannot read it: No such file"):
        Ticket.load(str(tmp_path / "no.json"))
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DwtError, match="not UTF-8"):
        Ticket.load(str(tmp_path / "latin.json"))


def test_fits_only_its_model(ticket):
    ticket.check_fits([Q], "ab" * 32, "t.json")
    ticket.check_fits([Q], None, "t.json")
    with pytest.raises(DwtError, match="t.json: was made for the pre-trained model abab"):
        ticket.check_fits([Q], "cd" * 32, "t.json")
    with pytest.raises(
        DwtError, match="has matrix layers.0.self_attn.q_proj, which the model lacks"
    ):
        ticket.check_fits([], None, "t.json")
    wide = Matrix(0, "Q", Q.name, 4, 5)
    with pytest.raises(DwtError, match=r"expected shape \(4, 5\) as in the model, got \(4, 3\)"):
        ticket.check_fits([wide], None, "t.json")


def columns(*of_q):
    return Ticket({Q.name: Columns((4, 3), of_q)}, Origin("dominant", base="ab" * 32))


def test_tickets_are_sets_of_columns_in_order():
    other = Matrix(0, "V", "layers.0.self_attn.v_proj", 4, 3)
    a, b = columns(2, 3, 0), columns(0, 1)
    b = Ticket({**b.matrices, other.name: Columns((4, 3), (1,))}, b.origin)
    union = a.union(b)
    assert union.matrices[Q.name].columns == (2, 3, 0, 1)
    assert union.matrices[other.name].columns == (1,)
    assert a.intersection(b).matrices == {Q.name: Columns((4, 3), (0,))}
    assert a.difference(b).matrices == {Q.name: Columns((4, 3), (2, 3))}
    assert b.difference(a).matrices[Q.name].columns == (1,)
    assert a.difference(a).matrices == {}
    assert union.origin == Origin("union", base="ab" * 32)


def test_what_one_ticket_does_not_know_is_no_other_ones_alone():
    a, b = columns(2, 3), Ticket({}, Origin("published"), unknown=frozenset([Q.name]))
    for found in (a.difference(b), b.difference(a), a.intersection(b)):
        assert found.matrices == {} and found.unknown == {Q.name}
    assert a.union(b).matrices[Q.name].columns == (2, 3)


def test_sets_of_different_models_are_refused():
    a = columns(1)
    with pytest.raises(DwtError, match="union: was made for the pre-trained model"):
        a.union(Ticket(a.matrices, Origin("dominant", base="cd" * 32)))
    wide = Ticket({Q.name: Columns((4, 9), (1,))}, Origin("dominant"))
    with pytest.raises(DwtError, match=r"expected shape \(4, 3\) in both tickets, got \(4, 9\)"):
        a.intersection(wide)


def test_unranked_and_unknown_are_kept_in_the_file(ticket, tmp_path):
    from dataclasses import replace

    marked = replace(ticket, ranked=False, unknown=frozenset(["layers.7.fc1"]))
    path = str(tmp_path / "ticket.json")
    marked.save(path)
    assert Ticket.load(path) == marked != ticket
    for key, value in (("ranked", 1), ("unknown", "fc1"), ("unknown", [1])):
        data = {**json.loads(marked.dumps()), key: value, "sha256": None}
        with pytest.raises(DwtError, match=f'expected "{key}"'):
            Ticket.loads(json.dumps(data))
    with pytest.raises(DwtError, match="got both"):
        replace(ticket, unknown=frozenset(ticket.matrices))


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layers.0.self_attn.k_proj",
        "decoder.layers.3.encoder_attn.q_proj",
        "w2v_encoder.w2v_model.encoder.layers.11.fc1",
        "encoder.transformer_layers.2.fc2",
    ],
)
def test_other_models_names_are_read(name):
    ticket = Ticket({name: Columns((4, 3), (1,))})
    assert Ticket.loads(ticket.dumps()) == ticket
