"""The one rule that sorts a RoBERTa's parameters: ticket matrix, layer, head or frozen.

A *ticket matrix* is one of the six projections of a transformer layer, W of shape (out_features,
in_features) together with its bias. A *dimension* of it is an input column; index ``in_features``
is the bias (paper, section 3.3). Everything here works on names and shapes alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "KINDS",
    "Matrix",
    "canonical_name",
    "is_head",
    "is_known",
    "is_layer",
    "named_matrices",
    "ticket_matrices",
]

#: The paper's names of the six matrices of a layer, in the order of its Table 1.
KINDS = ("Q", "K", "V", "O", "FC1", "FC2")

KIND_OF_MODULE = {
    "self_attn.q_proj": "Q",
    "self_attn.k_proj": "K",
    "self_attn.v_proj": "V",
    "self_attn.out_proj": "O",
    "fc1": "FC1",
    "fc2": "FC2",
}
_ENCODER = "encoder.sentence_encoder."
_WEIGHT = re.compile(
    re.escape(_ENCODER)
    + r"(layers\.(\d+)\.("
    + "|".join(map(re.escape, KIND_OF_MODULE))
    + r"))\.weight"
)

_KNOWN = re.compile(
    re.escape(_ENCODER)
    + r"(version|(embed_tokens|embed_positions|layernorm_embedding|layer_norm|"
    + r"layers\.\d+\.(self_attn_layer_norm|final_layer_norm|self_attn\.([qkv]_proj|out_proj)"
    + r"|fc1|fc2))\.(weight|bias)|embed_positions\._float_tensor"
    + r"|layers\.\d+\.self_attn\.in_proj_(weight|bias))"
)
_FAST_PATH_COPY = re.compile(r"\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)$")


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
        return f"{_ENCODER}{self.name}.weight"

    @property
    def bias(self) -> str:
        """Name of the bias in a fairseq RoBERTa state dict."""
        return f"{_ENCODER}{self.name}.bias"

    @property
    def shape(self) -> tuple[int, int]:
        """(out_features, in_features)."""
        return self.out_features, self.in_features

    @property
    def num_parameters(self) -> int:
        """Weights and biases of this matrix."""
        return self.out_features * (self.in_features + 1)


def canonical_name(name: str) -> str | None:
    """A parameter's name in a plain RoBERTa state dict, or None where it is not of the encoder.

    Wrappers (data parallel) put prefixes in front; checkpoints of 2019 say ``decoder`` for
    ``encoder`` and ``emb_layer_norm`` for ``layernorm_embedding``.

    >>> canonical_name("module.encoder.sentence_encoder.layers.0.fc1.weight")
    'encoder.sentence_encoder.layers.0.fc1.weight'
    >>> canonical_name("decoder.sentence_encoder.emb_layer_norm.bias")
    'encoder.sentence_encoder.layernorm_embedding.bias'

    fairseq 0.12.2 keeps a second copy of each layer's weights for a fast path of inference. It is
    made anew from the weights at every load, so it is no parameter of the model.

    >>> canonical_name("encoder.sentence_encoder.layers.0.fc1_weight")
    """
    start = name.find("sentence_encoder.")
    if start < 0 or _FAST_PATH_COPY.search(name):
        return None
    tail = name[start:].replace("emb_layer_norm.", "layernorm_embedding.")
    return "encoder." + tail


def is_layer(name: str) -> bool:
    """Whether a canonical name is a parameter of a transformer layer (what L1 covers)."""
    return name.startswith(_ENCODER + "layers.")


def is_head(name: str) -> bool:
    """Whether a parameter belongs to a classification head: always trained, never counted."""
    return "classification_heads." in name


def is_known(name: str) -> bool:
    """Whether a state dict's name is one that a fairseq RoBERTa has.

    >>> is_known("encoder.pooler.weight")
    False
    """
    canonical = canonical_name(name)
    if canonical is None:
        return is_head(name) or "lm_head." in name or bool(_FAST_PATH_COPY.search(name))
    return bool(_KNOWN.fullmatch(canonical))


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
    return ticket_matrices({f"{_ENCODER}{name}.weight": s for name, s in shapes.items()})
