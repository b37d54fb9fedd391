"""A pre-trained file as a fairseq RoBERTa ready to predict."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import torch
from fairseq.models.roberta import RobertaModel
from torch import nn

from ..checkpoint import Pretrained
from ..errors import DwtError
from ..model.packed import use_packed
from ..model.roberta import canonical_name, num_embeddings


class _Vocabulary:
    """What fairseq's model asks of a dictionary: how many entries, and which is padding."""

    def __init__(self, size: int):
        self._size = size

    def __len__(self) -> int:
        return self._size

    def pad(self) -> int:
        return 1


def load_roberta(
    pretrained: Pretrained,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """The encoder of ``pretrained``, without heads, in evaluation mode.

    Args:
        pretrained: the file.
        device: where to put it.
        dtype: of its weights.

    Returns:
        a fairseq ``RobertaModel`` that computes real tokens alone (``model/packed.py``).
    """
    size = num_embeddings(pretrained.tensors)
    args = argparse.Namespace(arch="roberta", **pretrained.settings)
    model = RobertaModel.build_model(args, SimpleNamespace(source_dictionary=_Vocabulary(size)))
    loaded = model.load_state_dict({**pretrained.tensors, **pretrained.lm_head}, strict=False)
    # of the language-model head nothing is used here
    missing = [name for name in loaded.missing_keys if canonical_name(name) is not None]
    for name in [*missing, *loaded.unexpected_keys]:
        if not name.endswith(".version"):
            raise DwtError(
                f"{pretrained.path}: {name}: expected the tensors of a RoBERTa with its settings, "
                "found more or fewer; fetch the file again"
            )
    use_packed(model)
    return model.to(device=device, dtype=dtype).eval().requires_grad_(False)
