from __future__ import annotations

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.find.dominant import Movement, out_weighted, tensors_of
from fairseq_dwt.model.names import Matrix
from fairseq_dwt.ticket import Origin
from fairseq_dwt.ticket.columns import ranking

ORIGIN = Origin("dominant")
FC1 = Matrix(layer=0, kind="FC1", name="layers.0.fc1", out_features=6, in_features=4)
FC2 = Matrix(layer=0, kind="FC2", name="layers.0.fc2", out_features=4, in_features=6)


def two_models():
    generator = torch.Generator().manual_seed(0)
    init, tuned = {}, {}
    for matrix in (FC1, FC2):
        for name, shape in ((matrix.weight, matrix.shape), (matrix.bias, matrix.shape[:1])):
            init[name] = torch.randn(shape, generator=generator)
            tuned[name] = init[name] + 1e-4 * torch.randn(shape, generator=generator)
    return init, tuned


def test_counts_are_of_columns_and_the_bias_is_last():
    small = Matrix(0, "FC1", "layers.0.fc1", out_features=3, in_features=2)
    init = {small.weight: torch.zeros(3, 2), small.bias: torch.zeros(3)}
    weight = torch.tensor([[1.0, 0.0], [1.0, -1.0], [0.5, 0.4]])
    tuned = {small.weight: weight, small.bias: torch.tensor([0.0, 0.0, 9.0])}
    moved = Movement([small], init.get, tuned.get, 0.5)
    assert moved.column_counts[small.name].tolist() == [2, 1, 1]


def test_sigma_is_a_strict_bound():
    assert out_weighted(torch.zeros(2), torch.tensor([0.5, -0.5]), 0.5).tolist() == [False, False]


def test_theta_0_is_cast_to_the_models_dtype_before_subtracting():
    init = torch.full((4, 1), 0.1)  # not representable in fp16
    assert not out_weighted(init, init.half(), 1e-6).any()


@pytest.mark.parametrize(
    "counts, columns",
    [
        ([0, 0, 0], []),
        ([1, 3, 3, 0, 1], [1, 2, 0, 4]),  # ties go to the lower index
        ([0, 0, 7], [2]),
    ],
)
def test_ranking(counts, columns):
    assert ranking(torch.tensor(counts)) == columns


def test_the_ranking_is_cut_at_the_limit():
    assert ranking(torch.tensor([1, 2, 3]), limit=2) == [2, 1]


def test_extraction_is_algorithm_1():
    init, tuned = two_models()
    moved = Movement([FC1, FC2], init.__getitem__, tuned.__getitem__, 1e-4)
    ticket, mask = moved.ticket(ORIGIN), moved.mask(ORIGIN)
    for matrix in (FC1, FC2):
        delta = torch.cat(
            [tuned[n].view(matrix.out_features, -1) - init[n].view(matrix.out_features, -1)
             for n in (matrix.weight, matrix.bias)], dim=1
        )  # fmt: skip
        counts = [sum(abs(float(x)) > 1e-4 for x in column) for column in delta.T]
        order = sorted(range(len(counts)), key=lambda j: (-counts[j], j))
        expected = [j for j in order if counts[j]]
        assert list(ticket.matrices[matrix.name].columns) == expected
        assert moved.counts[matrix.name] == sum(counts)
        assert torch.equal(mask.masks[matrix.name], delta.abs() > 1e-4)


def test_a_matrix_that_did_not_move_is_not_in_the_ticket():
    init, tuned = two_models()
    tuned[FC2.weight], tuned[FC2.bias] = init[FC2.weight], init[FC2.bias]
    moved = Movement([FC1, FC2], init.__getitem__, tuned.__getitem__, 1e-5)
    assert set(moved.ticket(ORIGIN).matrices) == {FC1.name} and moved.counts[FC2.name] == 0


@pytest.mark.parametrize("sigma", [0, -1, float("nan")])
def test_sigma_must_be_positive(sigma):
    init, tuned = two_models()
    with pytest.raises(DwtError, match="sigma: expected a positive threshold"):
        Movement([FC1], init.__getitem__, tuned.__getitem__, sigma).ticket(ORIGIN)


def test_another_models_checkpoint_is_refused():
    init, tuned = two_models()
    tuned[FC1.weight] = torch.zeros(6, 9)
    with pytest.raises(DwtError, match=r"layers.0.fc1: expected shape \(6, 4\)"):
        Movement([FC1], init.__getitem__, tuned.__getitem__, 1e-4).ticket(ORIGIN)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_diverged_checkpoint_is_refused_by_the_tensors_name(value, dtype):
    init, tuned = ({n: t.to(dtype) for n, t in model.items()} for model in two_models())
    tuned[FC2.bias][1] = value
    moved = Movement([FC1, FC2], tensors_of(init, "0.pt"), tensors_of(tuned, "t.pt"))
    for find in (moved.ticket, moved.mask):
        with pytest.raises(DwtError, match=r"t.pt: .*layers.0.fc2.bias: expected finite numbers"):
            find(ORIGIN)


def test_bottom_is_the_other_end_of_the_ranking():
    init, tuned = two_models()
    sigma = 1e-4
    movement = Movement([FC1, FC2], init.get, tuned.get, sigma)
    dominant = movement.ticket(ORIGIN)
    for k in (1, 2):
        found = movement.bottom(k, Origin("bottom"))
        for matrix in (FC1, FC2):
            moved = torch.cat(
                [tuned[matrix.weight] - init[matrix.weight],
                 (tuned[matrix.bias] - init[matrix.bias]).unsqueeze(1)], dim=1).abs()  # fmt: skip
            keys = [((moved[:, j] > sigma).sum().item(), moved[:, j].sum().item())
                    for j in range(moved.shape[1])]  # fmt: skip
            expected = sorted(range(len(keys)), key=lambda j: keys[j])[:k]
            assert list(found.matrices[matrix.name].columns) == expected
            assert len(dominant.top(k).matrices[matrix.name].columns) == k


def test_bottom_has_as_many_columns_as_the_dominant_ticket():
    init, tuned = two_models()
    for name in (FC1.weight, FC1.bias):
        tuned[name] = init[name].clone()
    tuned[FC1.weight][0, 1] += 1.0  # one column of FC1 has moved
    found = Movement([FC1, FC2], init.get, tuned.get, 1e-5).bottom(3, Origin("bottom"))
    assert found.matrices[FC1.name].columns == (0,)
    assert len(found.matrices[FC2.name].columns) == 3
