"""Five families of Hugging Face models, each the network that fairseq's RoBERTa computes.

Three things differ between them. Names. Positions: RoBERTas count them from padding_idx + 1 = 2 as
fairseq does, BERT and DistilBERT from 0, so that two rows are put in front. The head of a
classifier: dense, tanh and a projection, for which BERT takes its pooler, and DistilBERT ReLU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import DwtError

ENCODER = "encoder.sentence_encoder."
HEAD = "sentence_classification_head"
HEAD_PARTS = ("dense.weight", "dense.bias", "out_proj.weight", "out_proj.bias")
#: fairseq's epsilon of every LayerNorm.
EPSILON = 1e-5

_LAYER = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.output.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "output.LayerNorm",
}
_DISTILLED_LAYER = {
    "self_attn.q_proj": "attention.q_lin",
    "self_attn.k_proj": "attention.k_lin",
    "self_attn.v_proj": "attention.v_lin",
    "self_attn.out_proj": "attention.out_lin",
    "self_attn_layer_norm": "sa_layer_norm",
    "fc1": "ffn.lin1",
    "fc2": "ffn.lin2",
    "final_layer_norm": "output_layer_norm",
}


@dataclass(frozen=True)
class Family:
    """How Hugging Face writes the models of one kind.

    Attributes:
        model_type: config.json's.
        stem: of its class names, as in ``RobertaForMaskedLM``.
        prefix: of the encoder's tensors; a folder without a head lacks it.
        layers: where they are, ``"encoder.layer"``.
        layer: ``{fairseq's module: Hugging Face's}`` in a layer.
        lm_head: ``{fairseq's prefix or tensor: Hugging Face's}`` of the language-model head.
        head: Hugging Face's names of :data:`HEAD_PARTS`.
        pooler_activation: of that head.
        pooler: prefix of a pooler that is no part of that head; None where there is none.
        offset: the number of the first position's row.
        types: whether its tokens have types.
        size_names: config.json's names of layers, width, inner width, heads, positions.
    """

    model_type: str
    stem: str
    prefix: str
    layers: str
    layer: Mapping[str, str]
    lm_head: Mapping[str, str]
    head: tuple[str, ...]
    pooler_activation: str = "tanh"
    offset: int = 2
    types: bool = True
    size_names: tuple[str, ...] = (
        "num_hidden_layers",
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "max_position_embeddings",
    )

    @property
    def bert(self) -> bool:
        """Whether its tokens are BERT's: word pieces, [CLS] and [SEP]."""
        return self.offset == 0

    def encoder_names(self, layers: int) -> dict[str, str]:
        """``{fairseq's name: Hugging Face's without the prefix}`` of the encoder's tensors."""
        names = {
            f"{ENCODER}embed_tokens.weight": "embeddings.word_embeddings.weight",
            f"{ENCODER}embed_positions.weight": "embeddings.position_embeddings.weight",
            f"{ENCODER}layernorm_embedding.weight": "embeddings.LayerNorm.weight",
            f"{ENCODER}layernorm_embedding.bias": "embeddings.LayerNorm.bias",
        }
        for layer in range(layers):
            for ours, theirs in self.layer.items():
                for part in ("weight", "bias"):
                    name = f"{ENCODER}layers.{layer}.{ours}.{part}"
                    names[name] = f"{self.layers}.{layer}.{theirs}.{part}"
        return names

    def lm_head_names(self) -> dict[str, str]:
        """``{fairseq's name: Hugging Face's}`` of the language-model head's tensors."""
        return {f"encoder.lm_head.{ours}": theirs for ours, theirs in self.lm_head.items()}


def _lm_head(dense: str, norm: str, decoder: str, bias: str) -> dict[str, str]:
    return {
        "dense.weight": f"{dense}.weight",
        "dense.bias": f"{dense}.bias",
        "layer_norm.weight": f"{norm}.weight",
        "layer_norm.bias": f"{norm}.bias",
        "weight": f"{decoder}.weight",
        "bias": bias,
    }


def _roberta(model_type: str, stem: str) -> Family:
    return Family(
        model_type,
        stem,
        "roberta.",
        "encoder.layer",
        _LAYER,
        _lm_head("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias"),
        tuple(f"classifier.{part}" for part in HEAD_PARTS),
    )


_BERT = Family(
    "bert",
    "Bert",
    "bert.",
    "encoder.layer",
    _LAYER,
    _lm_head(
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.decoder",
        "cls.predictions.bias",
    ),
    ("bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"),
    offset=0,
)
_DISTILBERT = Family(
    "distilbert",
    "DistilBert",
    "distilbert.",
    "transformer.layer",
    _DISTILLED_LAYER,
    _lm_head("vocab_transform", "vocab_layer_norm", "vocab_projector", "vocab_projector.bias"),
    ("pre_classifier.weight", "pre_classifier.bias", "classifier.weight", "classifier.bias"),
    pooler_activation="relu",
    offset=0,
    types=False,
    size_names=("n_layers", "dim", "hidden_dim", "n_heads", "max_position_embeddings"),
)
FAMILIES = {
    family.model_type: family
    for family in (
        _roberta("roberta", "Roberta"),
        _roberta("xlm-roberta", "XLMRoberta"),
        _roberta("camembert", "Camembert"),
        _BERT,
        _DISTILBERT,
    )
}
_SIZES = (
    "encoder_layers",
    "encoder_embed_dim",
    "encoder_ffn_embed_dim",
    "encoder_attention_heads",
    "max_positions",
)


def _refuse(where: str, what: str, expected: str, got: Any) -> DwtError:
    return DwtError(
        f"{where}: {what}: expected {expected}, got {got!r}; fairseq's RoBERTa computes no other"
    )


def family_of(config: Mapping[str, Any], where: str) -> Family:
    """The family that config.json names.

    Raises:
        DwtError: none of them.
    """
    found = config.get("model_type")
    if not isinstance(found, str) or found not in FAMILIES:
        raise _refuse(where, "model_type", "one of " + ", ".join(FAMILIES), found)
    return FAMILIES[found]


def settings_of(family: Family, config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """fairseq's settings of the model.

    Args:
        family: the model's.
        config: of config.json.
        where: its path, for errors.

    Raises:
        DwtError: a setting that fairseq's RoBERTa does not compute.
    """
    distilled = not family.types
    # what transformers assumes where config.json is silent comes last
    for key, expected, assumed in (
        ("activation" if distilled else "hidden_act", "gelu", "gelu"),
        ("position_embedding_type", "absolute", "absolute"),
        ("is_decoder", False, False),
        ("add_cross_attention", False, False),
        ("pad_token_id", None if family.bert else 1, 1),
        # BERT's is smaller, and what that makes is told
        ("layer_norm_eps", None if family.bert else EPSILON, 1e-12),
    ):
        got = config.get(key, assumed)
        if expected is not None and got not in (expected, None):
            raise _refuse(where, key, repr(expected), got)
    for key in ("pruned_heads", "quantization_config", "adapters"):
        if config.get(key):
            raise _refuse(where, key, "none", config[key])
    if family.bert and not distilled:
        epsilon = config.get("layer_norm_eps", 1e-12)
        if type(epsilon) is not float or not 0 <= epsilon <= EPSILON:
            raise _refuse(where, "layer_norm_eps", f"at most {EPSILON}", epsilon)
    sizes = dict(zip(_SIZES, (config.get(name) for name in family.size_names)))
    for name, size in sizes.items():
        if type(size) is not int or not 0 < size < (1000 if name == "encoder_layers" else 10**6):
            raise _refuse(where, name, "a size", size)
    heads, width = sizes["encoder_attention_heads"], sizes["encoder_embed_dim"]
    if width % heads:  # type: ignore[operator]
        raise _refuse(where, "num_attention_heads", "a divisor of hidden_size", width)
    # fairseq counts positions from padding_idx + 1 = 2
    sizes["max_positions"] -= family.offset  # type: ignore[operator]
    dropout, attention = "hidden_dropout_prob", "attention_probs_dropout_prob"
    if distilled:
        dropout, attention = "dropout", "attention_dropout"
    return {
        **sizes,
        "activation_fn": "gelu",
        "pooler_activation_fn": "tanh",
        "dropout": config.get(dropout, 0.1),
        "attention_dropout": config.get(attention, 0.1),
    }
