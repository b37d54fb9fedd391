"""A ticket and an element mask for the tiny RoBERTa, saved."""

from __future__ import annotations

import pytest

from fairseq_dwt.checkpoint import Pretrained
from fairseq_dwt.extraction import random_columns, random_elements
from fairseq_dwt.sources import origin_of


@pytest.fixture(scope="session")
def pretrained(small):
    return Pretrained(small.init)


@pytest.fixture
def ticket(pretrained, tmp_path):
    """Two random columns of each matrix."""
    path = str(tmp_path / "given.json")
    origin = origin_of("random", pretrained, seed=3)
    random_columns(pretrained.matrices, 2, seed=3, origin=origin).save(path)
    return path


@pytest.fixture
def mask(pretrained, tmp_path):
    """Five per cent of the entries of each matrix."""
    path = str(tmp_path / "mask.safetensors")
    random_elements(pretrained.matrices, 5, 1, origin_of("random", pretrained)).save(path)
    return path
