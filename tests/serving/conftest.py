"""Deltas of random tickets on the tiny RoBERTa."""

from __future__ import annotations

import pytest

from fairseq_dwt.checkpoint import Pretrained, Tuned
from fairseq_dwt.delta import export
from tests.conftest import fine_tuned


@pytest.fixture(scope="session")
def pretrained(small):
    return Pretrained(small.init)


@pytest.fixture(scope="session")
def deltas_of(pretrained, tmp_path_factory):
    """``deltas_of({name: ticket})``: a delta of each, heads of two and three classes in turn."""
    folder = tmp_path_factory.mktemp("deltas")

    def make(tickets):
        made = {}
        for seed, (name, ticket) in enumerate(tickets.items()):
            path = fine_tuned(
                pretrained, ticket, folder / f"{name}.pt", seed=seed, classes=2 + seed % 2
            )
            tuned = Tuned(path)
            made[name] = export(pretrained, tuned, ticket, tuned.labels)
        return made

    return make
