"""Of a live model: heads are added whole or not at all."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fairseq_dwt import DwtError
from fairseq_dwt.model.anatomy import add_head, heads_in, remove_head
from tests.conftest import WORDS, roberta

HEAD = {
    "dense.weight": torch.randn(8, 8),
    "dense.bias": torch.randn(8),
    "out_proj.weight": torch.randn(3, 8),
    "out_proj.bias": torch.randn(3),
}


def test_a_head_is_added_in_the_models_dtype_and_removed():
    model = roberta(WORDS).half().eval()
    add_head(model, "rte", HEAD, "x")
    head = heads_in(model)["rte"]
    assert torch.equal(head.out_proj.weight, HEAD["out_proj.weight"].half()) and not head.training
    remove_head(model, "rte")
    assert "rte" not in heads_in(model)


def test_a_head_of_other_tensors_leaves_the_model_as_it_was(monkeypatch):
    model = roberta(WORDS)

    def register(name, num_classes, inner_dim):
        heads_in(model)[name] = nn.Linear(8, num_classes)  # as one with spectral norm

    monkeypatch.setattr(model, "register_classification_head", register)
    with pytest.raises(DwtError, match="x: expected a model with plain classification heads"):
        add_head(model, "rte", HEAD, "x")
    assert "rte" not in heads_in(model)
