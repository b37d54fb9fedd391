"""The one rule that sorts a model's parameters: ticket matrix, layer, head or frozen.

A *ticket matrix* is one of the projections of a transformer layer, W of shape (out_features,
in_features) together with its bias: six, and four more where a decoder attends to an encoder. A
*dimension* of it is an input column; index ``in_features`` is the bias (paper, section 3.3).
Everything here works on names and shapes alone.
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
#: Of a decoder's attention to the encoder, which the paper's models do not have.
CROSS = {
    "encoder_attn.q_proj": "XQ",
    "encoder_attn.k_proj": "XK",
    "encoder_attn.v_proj": "XV",
    "encoder_attn.out_proj": "XO",
}
ALL_KINDS = (*KINDS, *CROSS.values())
#: What the names of a RoBERTa's parameters begin with; in its matrices' names it is left out.
ENCODER = "encoder.sentence_encoder."
_HEADS = "classification_heads."
_T = TypeVar("_T")
_ALL_MODULES = {**KIND_OF_MODULE, **CROSS}
_MATRIX = re.compile(
    # speech_to_text's encoder says transformer_layers; conv_layers are no Transformer's
    r"(?P<stack>(?:.+\.)?(?:transformer_)?)layers\.(?P<layer>\d+)\.(?P<module>"
    + "|".join(map(re.escape, _ALL_MODULES))
    + ")"
)
_LAYER = re.compile(r"(^|\.)(transformer_)?layers\.\d+\.")


@dataclass(frozen=True, order=True)
class Matrix:
    """One ticket matrix: W (out_features, in_features) and its bias (out_features,).

    Attributes:
        layer: its number within its stack.
        kind: one of :data:`ALL_KINDS`.
        name: of its module in θ0's file, without :data:`ENCODER`.
    """

    layer: int
    kind: str
    name: str
    out_features: int
    in_features: int

    @property
    def weight(self) -> str:
        """Name of W in θ0's state dict."""
        return f"{_full(self.name)}.weight"

    @property
    def bias(self) -> str:
        """Name of the bias in θ0's state dict."""
        return f"{_full(self.name)}.bias"

    @property
    def shape(self) -> tuple[int, int]:
        """(out_features, in_features)."""
        return self.out_features, self.in_features

    @property
    def num_parameters(self) -> int:
        """Weights and biases of this matrix."""
        return self.out_features * (self.in_features + 1)


def _full(name: str) -> str:
    # no other model of fairseq's has layers at its top
    return f"{ENCODER}{name}" if name.startswith("layers.") else name


def is_matrix(name: str) -> bool:
    """Whether a ticket matrix can have this name."""
    return _MATRIX.fullmatch(name) is not None


def kind_of(name: str) -> str:
    """The kind of the matrix of this name."""
    match = _MATRIX.fullmatch(name)
    assert match is not None, name
    return _ALL_MODULES[match["module"]]


def stack_of(name: str) -> str:
    """What a matrix's name begins with, before its layer: '' of a RoBERTa."""
    return name[: name.rindex("layers.")]


def layer_of(name: str) -> int:
    """The number of a matrix's layer, in its stack."""
    return int(name[len(stack_of(name)) :].split(".")[1])


def is_layer(name: str) -> bool:
    """Whether a canonical name is a parameter of a transformer layer (what L1 covers)."""
    return bool(_LAYER.search(name))


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
    """The ticket matrices among ``{canonical name: shape}``, by stack, layer and kind."""
    found = []
    for name, shape in shapes.items():
        module, _, last = name.rpartition(".")
        match = _MATRIX.fullmatch(module) if last == "weight" and len(shape) == 2 else None
        if match:
            kind = _ALL_MODULES[match["module"]]
            found.append(Matrix(int(match["layer"]), kind, module.removeprefix(ENCODER), *shape))
    return sorted(found, key=lambda m: (stack_of(m.name), m.layer, ALL_KINDS.index(m.kind)))


def named_matrices(shapes: Mapping[str, tuple[int, int]]) -> list[Matrix]:
    """The ticket matrices of ``{matrix name: (out_features, in_features)}``, in the same order."""
    return ticket_matrices({f"{_full(name)}.weight": shape for name, shape in shapes.items()})
