"""The one rule that sorts a RoBERTa's parameters: ticket matrix, layer, head or frozen.

A *ticket matrix* is one of the six projections of a transformer layer, W of shape (out_features,
in_features) together with its bias. A *dimension* of it is an input column; index ``in_features``
is the bias (paper, section 3.3). Everything here works on names and shapes alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

#: The six matrices of a layer (the paper's equation 3), in the order of its Table 1.
KINDS = ("Q", "K", "V", "O", "FC1", "FC2")

KIND_OF_MODULE = {
    "self_attn.q_proj": "Q",
    "self_attn.k_proj": "K",
    "self_attn.v_proj": "V",
    "self_attn.out_proj": "O",
    "fc1": "FC1",
    "fc2": "FC2",
}
#: What the names of an encoder's parameters begin with.
ENCODER = "encoder.sentence_encoder."
_HEADS = "classification_heads."
_T = TypeVar("_T")
_WEIGHT = re.compile(
    re.escape(ENCODER)
    + r"(layers\.(\d+)\.("
    + "|".join(map(re.escape, KIND_OF_MODULE))
    + r"))\.weight"
)


@dataclass(frozen=True, order=True)
class Matrix:
    """One ticket matrix: W (out_features, in_features) and its bias (out_features,)."""

    layer: int
    kind: str
    name: str
    out_features: int
    in_features: int

    @property
    def weight(self) -> str:
        """Name of W in a fairseq RoBERTa state dict."""
        return f"{ENCODER}{self.name}.weight"

    @property
    def bias(self) -> str:
        """Name of the bias in a fairseq RoBERTa state dict."""
        return f"{ENCODER}{self.name}.bias"

    @property
    def shape(self) -> tuple[int, int]:
        """(out_features, in_features)."""
        return self.out_features, self.in_features

    @property
    def num_parameters(self) -> int:
        """Weights and biases of this matrix."""
        return self.out_features * (self.in_features + 1)


def is_layer(name: str) -> bool:
    """Whether a canonical name is a parameter of a transformer layer (what L1 covers)."""
    return name.startswith(ENCODER + "layers.")


def is_head(name: str) -> bool:
    """Whether a parameter belongs to a classification head: always trained, never counted."""
    return _HEADS in name


def head_name(head: str, name: str) -> str:
    """The plain name of tensor ``name`` of a classification head."""
    return f"{_HEADS}{head}.{name}"


def heads_of(tensors: Mapping[str, _T]) -> dict[str, dict[str, _T]]:
    """The classification heads among ``{name: tensor}``: ``{head: {name in it: tensor}}``."""
    heads: dict[str, dict[str, _T]] = {}
    for name, tensor in tensors.items():
        if is_head(name):
            head, _, rest = name[name.index(_HEADS) + len(_HEADS) :].partition(".")
            heads.setdefault(head, {})[rest] = tensor
    return heads


def ticket_matrices(shapes: Mapping[str, Sequence[int]]) -> list[Matrix]:
    """The ticket matrices among ``{canonical name: shape}``, by layer, then in Table 1's order."""
    found = []
    for name, shape in shapes.items():
        match = _WEIGHT.fullmatch(name)
        if match:
            kind = KIND_OF_MODULE[match.group(3)]
            found.append(Matrix(int(match.group(2)), kind, match.group(1), shape[0], shape[1]))
    return sorted(found, key=lambda m: (m.layer, KINDS.index(m.kind)))


def named_matrices(shapes: Mapping[str, tuple[int, int]]) -> list[Matrix]:
    """The ticket matrices of ``{matrix name: (out_features, in_features)}``, in the same order."""
    return ticket_matrices({f"{ENCODER}{name}.weight": s for name, s in shapes.items()})
