from __future__ import annotations

import pytest
import torch

from fairseq_dwt import DwtError
from fairseq_dwt.find.controls import random_elements
from fairseq_dwt.model.names import Matrix
from fairseq_dwt.ticket import ElementMask, Origin

FC1 = Matrix(layer=0, kind="FC1", name="layers.0.fc1", out_features=7, in_features=5)


@pytest.fixture
def mask():
    return random_elements([FC1], 30, seed=4, origin=Origin("random", base_parameters=1000, seed=4))


def test_saved_and_loaded_is_the_same(mask, tmp_path):
    path = str(tmp_path / "mask.safetensors")
    mask.save(path)
    loaded = ElementMask.load(path)
    assert loaded.origin == mask.origin
    assert torch.equal(loaded.masks[FC1.name], mask.masks[FC1.name])
    assert loaded.digest() == mask.digest()


def test_the_last_column_is_the_bias(mask):
    parts = mask.parts([FC1])
    assert parts[FC1.weight].shape == (7, 5) and parts[FC1.bias].shape == (7,)
    assert sum(part.size for part in parts.values()) == mask.num_parameters == round(0.3 * 42)
    whole = torch.cat([parts[FC1.weight].mask(), parts[FC1.bias].mask()[:, None]], dim=1)
    assert torch.equal(whole, mask.masks[FC1.name])
    assert mask.sparsity == mask.num_parameters / 1000


def test_k_does_not_apply(mask):
    assert mask.top(None) is mask
    with pytest.raises(DwtError, match="k: an element mask has no ranked columns, got k = 1"):
        mask.top(1)


def test_fits_only_its_model(mask):
    mask.check_fits([FC1], None, "m.safetensors")
    with pytest.raises(DwtError, match="which the model lacks"):
        mask.check_fits([], None, "m.safetensors")


def test_truncated_and_foreign_files_are_refused(mask, tmp_path):
    path = tmp_path / "mask.safetensors"
    mask.save(str(path))
    data = path.read_bytes()
    for length in range(0, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(DwtError, match="mask.safetensors"):
            ElementMask.load(str(path))
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, str(path))
    with pytest.raises(DwtError, match='expected "format" fairseq_dwt.element_mask'):
        ElementMask.load(str(path))
