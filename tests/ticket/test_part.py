"""Which entries of one parameter train: read, written, compared."""

from __future__ import annotations

import pytest
import torch

from fairseq_dwt.ticket.part import Part

PARTS = {
    "whole": Part((3, 4)),
    "columns": Part((3, 4), columns=torch.tensor([1, 3])),
    "entries": Part((3, 4), entries=torch.tensor([0, 5, 6])),
    "entries in four bytes": Part((3, 4), entries=torch.tensor([0, 5, 6], dtype=torch.int32)),
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_what_is_read_is_where_the_mask_is_and_is_written_back(part):
    parameter = torch.arange(12.0).view(3, 4)
    values, mask = part.read(parameter), part.mask().expand(3, 4)
    assert tuple(values.shape) == part.values_shape and values.numel() == part.size == mask.sum()
    assert torch.equal(values.reshape(-1), parameter[mask])  # in row-major order, as states are
    part.write(parameter, -values)
    assert torch.equal(parameter, torch.where(mask, -1, 1) * torch.arange(12.0).view(3, 4))


def test_overlap_counts_columns_or_entries():
    columns, other = PARTS["columns"], Part((3, 4), columns=torch.tensor([2, 3]))
    assert columns.overlap(other) == 1 and columns.overlap(columns) == 2
    assert columns.overlap(PARTS["entries"]) == 1  # entry 5 lies in column 1
    assert PARTS["whole"].overlap(PARTS["entries"]) == 3
