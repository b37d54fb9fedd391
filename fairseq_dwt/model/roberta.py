"""What is RoBERTa's alone: names of 2019, the shape that a file shows, the language-model head."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DwtError
from ..files import replacing
from .names import ENCODER, Matrix, head_name, heads_of, is_head

#: What decides which tensors a RoBERTa has, under the names that fairseq gives the settings.
SIZES = (
    "encoder_layers",
    "encoder_embed_dim",
    "encoder_ffn_embed_dim",
    "encoder_attention_heads",
    "max_positions",
)
#: Settings that change what the same tensors compute. Dropouts are not here: a user may choose.
#: With what fairseq takes where a file does not say.
FUNCTION = {
    "activation_fn": "gelu",
    "pooler_activation_fn": "tanh",
    "encoder_normalize_before": False,
    "encoder_learned_pos": True,
    "layernorm_embedding": True,
    "no_token_positional_embeddings": False,
    "untie_weights_roberta": False,
}
_KNOWN = re.compile(
    re.escape(ENCODER)
    + r"(version|(embed_tokens|embed_positions|layernorm_embedding|layer_norm|"
    + r"layers\.\d+\.(self_attn_layer_norm|final_layer_norm|self_attn\.([qkv]_proj|out_proj)"
    + r"|fc1|fc2))\.(weight|bias)|embed_positions\._float_tensor"
    + r"|layers\.\d+\.self_attn\.in_proj_(weight|bias))"
)
_FAST_PATH_COPY = re.compile(
    r"\.(?:transformer_)?layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)$"
)


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


def is_copy(name: str) -> bool:
    """Whether a tensor is fairseq 0.12.2's second copy of a layer's weights."""
    return bool(_FAST_PATH_COPY.search(name))


def is_known(name: str) -> bool:
    """Whether a state dict's name is one that a fairseq RoBERTa has.

    >>> is_known("encoder.pooler.weight")
    False
    """
    canonical = canonical_name(name)
    if canonical is None:
        return is_head(name) or "lm_head." in name or bool(_FAST_PATH_COPY.search(name))
    return bool(_KNOWN.fullmatch(canonical))


def model_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A RoBERTa's own tensors under canonical names; classification heads keep their names.

    Checkpoints of 2019 hold q, k and v as one ``in_proj_weight`` (3 · embed_dim, embed_dim); it is
    split here as fairseq splits it (views, no copy). The LM head is left out.
    """
    tensors: dict[str, Tensor] = {
        head_name(head, name): tensor
        for head, parts in heads_of(state).items()
        for name, tensor in parts.items()
    }
    for name, tensor in state.items():
        if is_head(name):
            continue
        canonical = canonical_name(name)
        if canonical is None:
            continue
        tensors[canonical] = tensor
    return split_projections(tensors)


def split_projections(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``….in_proj_weight`` of files of 2019 as q, k and v, as fairseq splits it: views, no copy."""
    split = {}
    for name, tensor in tensors.items():
        prefix, _, last = name.rpartition(".")
        # fairseq 0.12.2's copies, of the same last name, lie beside the layer's modules
        if prefix.endswith("_attn") and last in ("in_proj_weight", "in_proj_bias"):
            part_name = last[len("in_proj_") :]
            for projection, part in zip("qkv", tensor.chunk(3)):
                split[f"{prefix}.{projection}_proj.{part_name}"] = part
        else:
            split[name] = tensor
    return split


def lm_head_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A RoBERTa's language-model head under the names of a plain state dict."""
    return {
        "encoder." + name[name.index("lm_head.") :]: tensor
        for name, tensor in state.items()
        if "lm_head." in name
    }


def num_embeddings(tensors: Mapping[str, Tensor]) -> int:
    """Entries of the vocabulary, ``<mask>`` among them."""
    return tensors[f"{ENCODER}embed_tokens.weight"].shape[0]


def settings_of(
    tensors: Mapping[str, Tensor],
    matrices: Sequence[Matrix],
    saved: Mapping[str, Any],
    where: str,
) -> dict[str, Any]:
    """The model's settings (:data:`SIZES`, :data:`FUNCTION`), as saved and as tensors show.

    Args:
        tensors: as :func:`model_tensors`.
        matrices: its ticket matrices.
        saved: settings that the file holds, by fairseq's names.
        where: the file, for errors.

    Raises:
        DwtError: the two contradict each other, or the number of heads cannot be told.
    """
    settings = {name: saved[name] for name in (*SIZES, *FUNCTION) if saved.get(name) is not None}
    for name, size in _sizes(tensors, matrices).items():
        if settings.setdefault(name, size) != size:
            raise DwtError(
                f"{where}: its settings say {name} = {settings[name]} but its tensors say "
                f"{size}; the file is inconsistent: fetch it again"
            )
    heads, width = settings.get("encoder_attention_heads"), settings["encoder_embed_dim"]
    if heads is None:
        # No tensor shows the number of heads. Every published RoBERTa has heads of 64.
        if width % 64:
            raise DwtError(
                f"{where}: does not say how many attention heads it has and its width "
                f"{width} is no multiple of 64; save it with its args (encoder_attention_heads)"
            )
        settings["encoder_attention_heads"] = width // 64
    return settings


def _sizes(tensors: Mapping[str, Tensor], matrices: Sequence[Matrix]) -> dict[str, int]:
    first = matrices[0]
    fc1 = next(m for m in matrices if m.kind == "FC1")
    sizes = {
        "encoder_layers": 1 + max(m.layer for m in matrices),
        "encoder_embed_dim": first.in_features,
        "encoder_ffn_embed_dim": fc1.out_features,
    }
    positions = tensors.get(f"{ENCODER}embed_positions.weight")
    if positions is not None:
        # fairseq counts positions from padding_idx + 1 = 2
        sizes["max_positions"] = positions.shape[0] - 2
    return sizes


def empty_lm_head(words: Tensor) -> dict[str, Tensor]:
    """A language-model head that says nothing, for files of which fairseq expects one.

    Args:
        words: token embeddings, (vocabulary, embed_dim), which share its weight.
    """
    size, width = words.shape
    return {
        "encoder.lm_head.dense.weight": words.new_zeros(width, width),
        "encoder.lm_head.dense.bias": words.new_zeros(width),
        "encoder.lm_head.layer_norm.weight": words.new_ones(width),
        "encoder.lm_head.layer_norm.bias": words.new_zeros(width),
        "encoder.lm_head.bias": words.new_zeros(size),
    }


def keep_own_lm_head(model: nn.Module) -> None:
    """Let ``model`` load a file without a language-model head, and keep its own.

    A fairseq RoBERTa always has one; sentence prediction does not use it.

    Args:
        model: a fairseq RoBERTa, before any wrapper.
    """
    model._register_load_state_dict_pre_hook(_with_lm_head, with_module=True)


def _with_lm_head(module: Any, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    encoder = module.encoder
    embeddings = encoder.sentence_encoder.embed_tokens.weight
    for name, own in encoder.lm_head.state_dict(keep_vars=True).items():
        value = own.detach()
        if own is embeddings:  # tied: loaded under both names
            value = state_dict[f"{prefix}encoder.sentence_encoder.embed_tokens.weight"]
        state_dict.setdefault(f"{prefix}encoder.lm_head.{name}", value)


def save_roberta(
    path: str,
    tensors: Mapping[str, Tensor],
    model: Mapping[str, Any],
    task: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
    labels: Sequence[str] | None = None,
    sentences: int | None = None,
) -> None:
    """Write a checkpoint that stock fairseq loads, whole or not at all.

    Args:
        path: of the file.
        tensors: the model's state dict, by its names in a plain RoBERTa.
        model: its settings, by fairseq's names.
        task: the task's settings, ``_name`` among them.
        dtype: in which the model was trained (see :class:`~fairseq_dwt.checkpoint.Tuned`).
        labels: label strings by class index, for those who predict with it.
        sentences: of an example, 1 or 2, for them too.
    """
    half = {"fp16": dtype == torch.float16, "bf16": dtype == torch.bfloat16}
    history = {
        "criterion_name": "",
        "optimizer_name": "",
        "lr_scheduler_state": {},
        "num_updates": 0,
    }
    state: dict[str, Any] = {
        # plain dictionaries: newer torches load them without being told to trust a class
        "args": None,
        "cfg": {
            "common": half,
            "model": {"_name": "roberta", **model},
            # the task gives its max_positions to the model
            "task": {"data": "", "seed": 1, "max_positions": model["max_positions"], **task},
            "criterion": {"_name": task["_name"]},
            "bpe": None,
            "tokenizer": None,
        },
        "model": dict(tensors),
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1}},
        "last_optimizer_state": None,
    }
    told: dict[str, Any] = {} if labels is None else {"labels": list(labels)}
    told |= {} if sentences is None else {"sentences": sentences}
    if told:
        state["task_state"] = told
    with replacing(path) as temporary:
        torch.save(state, temporary)
