"""The table of methods: names in tables, the command of each row."""

from __future__ import annotations

import pytest

from fairseq_dwt.cli import main
from fairseq_dwt.find.methods import METHODS, WORDS, label_of
from fairseq_dwt.ticket import Columns, ElementMask, Origin, Ticket, load_ticket

from .test_dominant import FC1, FC2, two_models


@pytest.fixture
def moved():
    from fairseq_dwt.find.dominant import Movement

    init, tuned = two_models()
    return Movement([FC1, FC2], init.get, tuned.get, 1e-4)


def test_what_tables_call_a_run(moved):
    from fairseq_dwt.find.controls import bitfit, random_elements

    ticket = moved.ticket(Origin("dominant"))
    assert label_of(ticket.top(2)) == "Dominant-2"
    assert label_of(moved.bottom(1, Origin("bottom"))) == "Bottom-1"
    assert label_of(bitfit([FC1, FC2], Origin("bitfit"))) == "BitFit"
    assert label_of(random_elements([FC1], 50, 1, Origin("random"))) == "Random-50 %"
    mask = moved.mask(Origin("dominant"))
    share = 100 * mask.num_parameters / (FC1.num_parameters + FC2.num_parameters)
    assert label_of(mask) == f"σ-mask {share:.2g} %"
    assert label_of(Ticket({}, Origin("union"))) == "union-0"


def test_a_row_makes_its_command(small, mask, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out
    assert all(
        word in listed for word in METHODS if METHODS[word].has_command and METHODS[word].find
    )
    assert WORDS == (
        "random",
        "oneshot",
        "forward",
        "bitfit",
        "weight_norm",
        "slice",
    )  # bottom needs a checkpoint
    for word, options in {"random": ["-k", "2"], "bitfit": []}.items():
        path = str(tmp_path / f"{word}.json")
        assert main([word, "--init", small.init, *options, "-o", path]) == 0
        assert Ticket.load(path).origin.method == word


def test_random_has_as_many_columns_as_the_ticket_it_is_like(small, ticket, tmp_path):
    few = load_ticket(ticket)
    dropped = next(iter(few.matrices))
    few = Ticket({n: e for n, e in few.matrices.items() if n != dropped}, few.origin)
    few.save(str(tmp_path / "few.json"))
    path = str(tmp_path / "like.json")
    like = ["random", "--init", small.init, "-k", "2", "--like", str(tmp_path / "few.json")]
    assert main([*like, "-o", path]) == 0
    drawn = Ticket.load(path)
    assert drawn.matrices.keys() == few.matrices.keys() and drawn.k == 2


def test_random_is_like_a_ticket_of_the_same_shapes_only(small, ticket, tmp_path, capsys):
    given, out = load_ticket(ticket), str(tmp_path / "r.json")
    command = ["random", "--init", small.init, "-k", "2", "-o", out, "--like", ticket]
    Ticket(given.matrices, Origin("dominant", base="ab" * 32)).save(ticket)
    assert main(command) == 0
    Ticket({"layers.0.fc1": Columns((99, 77), (1,))}).save(ticket)
    assert main(command) == 2
    assert "layers.0.fc1: expected shape (16, 8) as in the model" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "k: random needs k"),
        (["-k", "1", "--percent", "5"], "percent: elements are drawn without k"),
        (["-k", "1", "--like", "MASK"], "expected a ticket of columns, got an element mask"),
    ],
)
def test_options_that_do_not_go_together(options, message, small, mask, tmp_path, capsys):
    options = [mask if option == "MASK" else option for option in options]
    assert isinstance(load_ticket(mask), ElementMask)
    out = str(tmp_path / "r.json")
    assert main(["random", "--init", small.init, *options, "-o", out]) == 2
    assert message in capsys.readouterr().err
