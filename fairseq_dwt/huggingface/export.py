"""A fairseq checkpoint as a folder that ``transformers`` loads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import Pretrained, Tuned, load_checkpoint
from ..delta.head import check_head, only_head
from ..errors import DwtError
from ..files import replacing_folder
from .families import ENCODER, EPSILON, FAMILIES, HEAD_PARTS, Family
from .tokens import tokens_of


def export_folder(
    checkpoint: str,
    folder: str,
    dictionary: str,
    tokens: Mapping[str, str],
    cased: bool = False,
    model_type: str | None = None,
) -> list[str]:
    """Write a fairseq RoBERTa as a folder that ``transformers`` loads.

    Args:
        checkpoint: a pre-trained or fine-tuned (merged) checkpoint.
        folder: to write; must not exist or be empty.
        dictionary: path of the model's dict.txt.
        tokens: ``{"encoder_json": path, "vocab_bpe": path}`` (GPT-2 BPE), ``{"vocab_file": path}``
            (BERT's word pieces), or ``{"sentencepiece_model": path}``.
        cased: word pieces keep case.
        model_type: one of :data:`~fairseq_dwt.huggingface.families.FAMILIES`; None chooses RoBERTa,
            with SentencePiece XLM-R, or CamemBERT where dict.txt is one.

    Returns:
        sentences about what the folder does not compute to the last digit.

    Raises:
        DwtError: no model that this class of Hugging Face's computes, or the vocabulary does not
            fit; nothing is written.
    """
    from safetensors.torch import save_file

    folder = os.path.abspath(folder)
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise DwtError(f"{folder}: expected a new folder, got one with files; choose another name")
    state = load_checkpoint(checkpoint)
    pretrained, tuned = Pretrained(checkpoint, state), Tuned(checkpoint, state)
    words = pretrained.tensors[f"{ENCODER}embed_tokens.weight"]
    _check_settings(pretrained)
    found = tokens_of(
        dictionary,
        words.shape[0],
        tokens,
        model_type,
        cased,
        pretrained.settings["max_positions"],
        _separators(tuned),
    )
    family = FAMILIES[found.model_type]
    config = {**_config(family, pretrained, tuned), **found.special_ids}
    tensors = _tensors(family, pretrained, tuned, torch.tensor(found.rows), config)
    with replacing_folder(Path(folder)) as partial:
        for name, content in {"config.json": config, **found.files}.items():
            if not isinstance(content, (str, bytes)):
                content = json.dumps(content, indent=2) + "\n"
            data = content if isinstance(content, bytes) else content.encode("utf-8")
            (partial / name).write_bytes(data)
        contiguous = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, str(partial / "model.safetensors"), metadata={"format": "pt"})
    if family.types:
        return []
    return [
        f"LayerNorm: epsilon is {EPSILON:g} in fairseq and 1e-12 in every DistilBERT; results "
        "differ by what that makes (docs/deltas.md, Hugging Face)"
    ]


def _separators(tuned: Tuned) -> int | None:
    """How many </s> stand between two sentences, as the head was trained; None where it has none.

    Raises:
        DwtError: rows that begin or are separated as in none of Hugging Face's models.
    """
    told = tuned.settings
    if not _has_head(tuned) or "separator_token" not in told:
        return None
    separator = told["separator_token"]
    for name, got, expected in (
        ("init_token", told.get("init_token"), (0,)),
        ("separator_token", separator, (None, 2)),
    ):
        if got not in expected:
            raise DwtError(
                f"{tuned.path}: {name}: expected {' or '.join(map(str, expected))}, got {got}; "
                "Hugging Face's models read no rows that are made so"
            )
    return None if tuned.sentences == 1 else 1 if separator is None else 2


def _has_head(tuned: Tuned) -> bool:
    return any(name.startswith("classification_heads.") for name in tuned.tensors)


def _tensors(
    family: Family, pretrained: Pretrained, tuned: Tuned, rows: Tensor, config: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The state dict by Hugging Face's names, rows of the vocabulary in its order."""
    if tuned.strange:
        raise DwtError(
            f"{tuned.path}: {tuned.strange[0]}: a tensor that Hugging Face's {family.stem} does "
            "not have"
        )
    tensors = {}
    source = {**pretrained.tensors, **pretrained.lm_head}
    moved = rows.tolist() != list(range(len(rows)))
    by_row = {f"encoder.lm_head.{part}" for part in ("weight", "bias")}
    by_row.add(f"{ENCODER}embed_tokens.weight")
    if moved:
        source.update((name, source[name][rows]) for name in by_row if name in source)
    positions = f"{ENCODER}embed_positions.weight"
    for ours, theirs in family.encoder_names(pretrained.settings["encoder_layers"]).items():
        if ours not in source:
            raise DwtError(f"{pretrained.path}: expected tensor {ours}, found none")
        tensors[family.prefix + theirs] = source[ours]
        if ours == positions:
            tensors[family.prefix + theirs] = source[ours][2 - family.offset :]
    words = source[f"{ENCODER}embed_tokens.weight"]
    if family.types:
        types = words.new_zeros(config["type_vocab_size"], words.shape[1])
        tensors[f"{family.prefix}embeddings.token_type_embeddings.weight"] = types
    heads = {n: t for n, t in tuned.tensors.items() if n.startswith("classification_heads.")}
    names = dict(zip(HEAD_PARTS, family.head))
    for name, tensor in heads.items():
        tensors[names[name.split(".", 2)[2]]] = tensor.to(tuned.saved_dtype)
    if heads:
        return tensors  # a classifier has no language-model head
    for ours, theirs in family.lm_head_names().items():
        tied = ours.endswith("lm_head.weight") and config["tie_word_embeddings"]
        if ours in source and not tied:
            tensors[theirs] = source[ours]
    return tensors


def _check_settings(pretrained: Pretrained) -> None:
    settings = pretrained.settings
    for key, expected in (
        ("activation_fn", "gelu"),
        ("encoder_normalize_before", False),
        ("layernorm_embedding", True),
        ("no_token_positional_embeddings", False),
        ("encoder_learned_pos", True),
    ):
        if settings.get(key, expected) != expected:
            raise DwtError(
                f"{pretrained.path}: {key}: expected {expected!r}, got {settings[key]!r}; Hugging "
                "Face's RoBERTa computes no other"
            )


def _config(family: Family, pretrained: Pretrained, tuned: Tuned) -> dict[str, Any]:
    settings = pretrained.settings
    width = settings["encoder_embed_dim"]
    words = pretrained.tensors[f"{ENCODER}embed_tokens.weight"]
    sizes = (
        settings["encoder_layers"],
        width,
        settings["encoder_ffn_embed_dim"],
        settings["encoder_attention_heads"],
        settings["max_positions"] + family.offset,
    )
    config: dict[str, Any] = {
        "model_type": family.model_type,
        "architectures": [f"{family.stem}ForMaskedLM"],
        "vocab_size": words.shape[0],
        **dict(zip(family.size_names, sizes)),
        "tie_word_embeddings": not settings.get("untie_weights_roberta", False),
        "torch_dtype": str(words.dtype)[len("torch.") :],
    }
    if family.types:
        config.update(
            hidden_act="gelu",
            hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.1,
            type_vocab_size=2 if family.bert else 1,
            layer_norm_eps=EPSILON,
        )
    else:
        config.update(activation="gelu", dropout=0.1, attention_dropout=0.1)
    if not _has_head(tuned):
        return config
    _, head = only_head(tuned)
    labels = tuned.labels or []
    check_head(head, labels, tuned.path)
    if tuple(head["dense.weight"].shape) != (width, width):
        raise DwtError(
            f"{pretrained.path}: expected a classification head of width {width}, got "
            f"{tuple(head['dense.weight'].shape)}; Hugging Face's {family.stem} has no other"
        )
    activation = settings.get("pooler_activation_fn", "tanh")
    if activation != family.pooler_activation:
        raise DwtError(
            f"{pretrained.path}: pooler_activation_fn: expected {family.pooler_activation!r}, got "
            f"{activation!r}; the head of Hugging Face's {family.stem} computes no other: name "
            "another --model-type"
        )
    classes = head["out_proj.weight"].shape[0]
    labels = labels or [f"LABEL_{i}" for i in range(classes)]
    config["architectures"] = [f"{family.stem}ForSequenceClassification"]
    config["id2label"] = {str(i): label for i, label in enumerate(labels)}
    config["label2id"] = {label: i for i, label in enumerate(labels)}
    if tuned.settings.get("regression_target"):
        config["problem_type"] = "regression"
    return config
