from __future__ import annotations

import itertools
import json
import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_dwt import DwtError
from fairseq_dwt.cli import main
from fairseq_dwt.ticket import PUBLISHED, Columns, Origin, Ticket, load_ticket
from fairseq_dwt.ticket.similarity import similarity

Q, V = "layers.0.self_attn.q_proj", "layers.0.self_attn.v_proj"


def ticket(*, width=9, base=None, unknown=(), **columns):
    names = {"q": Q, "v": V}
    matrices = {names[n]: Columns((4, width), tuple(c)) for n, c in columns.items()}
    return Ticket(matrices, Origin("dominant", base), unknown=frozenset(unknown))


def test_a_matrix_that_only_one_ticket_has_counts_as_zero():
    found = similarity(ticket(q=(1, 2)), ticket(q=(2, 1), v=(3,)))
    assert found.matrices == {Q: 1.0, V: 0.0}
    assert found.per_matrix == 0.5 and found.pooled == 2 / 3
    assert found.by_kind == {"Q": 1.0, "V": 0.0}


def test_a_matrix_that_one_ticket_says_nothing_about_is_left_out():
    found = similarity(ticket(q=(1, 2), unknown=[V]), ticket(q=(2, 3), v=(3,)))
    assert found.matrices == {Q: 1 / 3}
    assert found.pooled == 1 / 3


def test_chance_is_what_random_tickets_have():
    generator = random.Random(0)

    def draw():
        return ticket(q=generator.sample(range(10), 3), v=generator.sample(range(10), 2))

    drawn = [similarity(draw(), draw()) for _ in range(4000)]
    assert mean(s.per_matrix for s in drawn) == pytest.approx(drawn[0].chance, abs=0.01)
    assert mean(s.pooled for s in drawn) == pytest.approx(drawn[0].pooled_chance, abs=0.02)


@given(st.sets(st.integers(0, 9), min_size=1), st.sets(st.integers(0, 9), min_size=1))
def test_jaccard_of_two_sets(a, b):
    found = similarity(ticket(q=tuple(a)), ticket(q=tuple(b)))
    assert found.per_matrix == found.pooled == len(a & b) / len(a | b)
    assert found == similarity(ticket(q=tuple(b)), ticket(q=tuple(a)))


@pytest.mark.parametrize(
    "other, message",
    [
        (ticket(q=(1,), base="b"), "different|made for the pre-trained model"),
        (ticket(q=(1,), width=8), "one shape in both tickets"),
    ],
)
def test_tickets_of_different_models_are_refused(other, message):
    with pytest.raises(DwtError, match=message):
        similarity(ticket(q=(1,), base="a"), other)


def test_nothing_to_compare_is_refused():
    with pytest.raises(DwtError, match="expected tickets with columns"):
        similarity(ticket(), ticket())


# -- the tickets that the paper prints ------------------------------------------------------------


def test_published_tickets_train_what_the_paper_says():
    mnli = load_ticket("roberta.large/mnli")
    assert mnli.ranked and not mnli.unknown
    assert mnli.top(1).num_parameters == 220_160
    assert mnli.num_parameters == mnli.top(3).num_parameters == 654_336
    # two cells of Table 1, one of them short, one of them with the bias
    assert mnli.matrices["layers.22.self_attn.q_proj"].columns == (631,)
    assert mnli.matrices["layers.22.self_attn.out_proj"].columns == (559, 1024, 46)
    assert "layers.22.self_attn.k_proj" not in mnli.matrices


def test_published_tickets_are_as_alike_as_the_paper_says():
    """The mean over the pairs of four tasks; the paper prints 0.67."""
    tickets = [load_ticket(name) for name in PUBLISHED]
    found = [similarity(a, b) for a, b in itertools.combinations(tickets, 2)]
    assert {len(pair.matrices) for pair in found} == {
        136
    }  # Q and K of layers 20 to 23 are not told
    assert round(mean(pair.per_matrix for pair in found), 3) == 0.653
    assert round(mean(pair.pooled for pair in found), 3) == 0.564


@pytest.mark.parametrize("name", PUBLISHED[1:])
def test_choosing_from_an_unranked_set_is_refused(name):
    published = load_ticket(name)
    assert published.top(3) == published and not published.ranked
    for k in (1, 2):
        with pytest.raises(DwtError, match=f"k: expected 3 or more, got {k}: .*Tables 5 to 10"):
            published.top(k)


def test_the_command(capsys):
    assert main(["similarity", *PUBLISHED]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 6 and last.split()[:3] == ["65.3", "0.2", "56.4"]
    assert main(["similarity", *PUBLISHED[:2], "--json"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)
    assert pair["tickets"] == list(PUBLISHED[:2]) and len(pair["matrices"]) == 136
    assert main(["similarity", PUBLISHED[0]]) == 2
    assert "expected two tickets or more" in capsys.readouterr().err
    assert main(["similarity", *PUBLISHED, "-k", "1"]) == 2
    assert "without a ranking" in capsys.readouterr().err


def test_cross_attention_is_in_the_table(tmp_path, capsys):
    names = ("decoder.layers.0.encoder_attn.q_proj", "decoder.layers.0.self_attn.q_proj")
    for path, columns in (("a", (1, 2)), ("b", (3, 2))):
        found = {name: Columns((4, 9), (column,)) for name, column in zip(names, columns)}
        Ticket(found, Origin("l1")).save(f"{tmp_path}/{path}.json")
    assert main(["similarity", f"{tmp_path}/a.json", f"{tmp_path}/b.json"]) == 0
    header, figures = capsys.readouterr().out.splitlines()
    found = dict(zip(header.replace("per matrix", "all").split(), figures.split()))
    assert (found["all"], found["Q"], found["XQ"], found["XO"]) == ("50.0", "100.0", "0.0", "-")
