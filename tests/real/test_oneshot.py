"""One-shot tickets of a real encoder on real tasks (DWT_REAL_DIR)."""

from __future__ import annotations

import pytest

from fairseq_dwt.cli import main
from fairseq_dwt.ticket import Ticket
from fairseq_dwt.ticket.similarity import similarity


@pytest.fixture(scope="module")
def tickets(stand, tmp_path_factory):
    """The ticket of each task's first four batches."""
    folder, found = tmp_path_factory.mktemp("oneshot"), {}
    for task, name in (("sst_2", "SST-2"), ("mrpc", "MRPC"), ("cola", "CoLA")):
        path = str(folder / f"{task}.json")
        assert main([
            "oneshot", "--config-name", f"ticket_{task}", "--batches", "4",
            f"task.data={stand.folder}/data-bin/{name}", "common.cpu=true",
            f"checkpoint.finetune_from_model={stand.init}", "-o", path,
        ]) == 0  # fmt: skip
        found[name] = Ticket.load(path)
    return found


def test_a_few_updates_of_l1_show_the_same_columns(tickets, stage_1):
    """60 updates let few columns through; the one-shot ranking begins with them."""
    slow = Ticket.load(str(stage_1 / "ticket.json")).top(1)
    assert len(slow.matrices) >= 6
    named = [slow.matrices[n].columns[0] in tickets["SST-2"].top(3).matrices[n].columns
             for n in slow.matrices]  # fmt: skip
    assert sum(named) >= 0.7 * len(named)


def test_tasks_agree(tickets):
    for one, other in (("SST-2", "MRPC"), ("SST-2", "CoLA"), ("MRPC", "CoLA")):
        alike = similarity(tickets[one].top(1), tickets[other].top(1))
        assert alike.per_matrix > 0.6 > 0.01 > alike.chance


def test_dimension_99_leads_v_and_fc1(tickets):
    """What the L1 tickets of docs/reproducing.md show, seen before any update."""
    for ticket in tickets.values():
        for name, entry in ticket.top(3).matrices.items():
            if name.endswith("v_proj"):
                assert 99 in entry.columns
