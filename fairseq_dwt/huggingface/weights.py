"""A Hugging Face folder's tensors under fairseq's names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import DwtError
from ..files import read_safetensors
from ..model.roberta import empty_lm_head
from .families import ENCODER, EPSILON, Family
from .jsons import read_json


def read_weights(folder: str) -> dict[str, Tensor]:
    """The folder's tensors, mapped from model.safetensors, its shards, or pytorch_model.bin.

    Raises:
        DwtError: none of these, or an adapter lies beside them, which transformers would add.
    """
    for name in ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"):
        if os.path.exists(os.path.join(folder, name)):
            raise DwtError(
                f"{os.path.join(folder, name)}: expected a model's weights alone, got an adapter "
                "beside them, which transformers adds to them; merge it first "
                "(merge_and_unload in peft) and save the model"
            )
    index = os.path.join(folder, "model.safetensors.index.json")
    if os.path.isfile(os.path.join(folder, "model.safetensors")):
        names = ["model.safetensors"]
    elif os.path.isfile(index):
        shards = read_json(folder, "model.safetensors.index.json").get("weight_map")
        if not isinstance(shards, dict):
            raise DwtError(f'{index}: expected an object "weight_map"; fetch the file again')
        names = sorted({str(name) for name in shards.values()})
        strange = [name for name in names if os.path.basename(name) != name]
        if strange:
            raise DwtError(f"{index}: expected names of files beside it, got {strange[0]!r}")
    elif os.path.isfile(os.path.join(folder, "pytorch_model.bin")):
        return _modern(_read_bin(os.path.join(folder, "pytorch_model.bin")))
    else:
        raise DwtError(
            f"{folder}: expected model.safetensors or pytorch_model.bin, found neither; fetch the "
            "model's weights"
        )
    tensors: dict[str, Tensor] = {}
    for name in names:
        tensors.update(read_safetensors(os.path.join(folder, name))[1])
    return _modern(tensors)


def _modern(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BERTs of 2018 call a LayerNorm's weight and bias gamma and beta."""
    ends = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
    renamed = {}
    for name, tensor in tensors.items():
        for old, new in ends.items():
            if name.endswith(old):
                name = name[: -len(old)] + new
        renamed[name] = tensor
    return renamed


def _read_bin(path: str) -> dict[str, Tensor]:
    import pickle

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DwtError(
            f"{path}: expected tensors alone, cannot read it ({reason}); prefer model.safetensors"
        ) from None
    if not isinstance(state, dict) or not all(torch.is_tensor(t) for t in state.values()):
        raise DwtError(f"{path}: expected a dictionary of tensors; prefer model.safetensors")
    return state


def encoder_tensors(
    family: Family,
    found: dict[str, Tensor],
    settings: dict[str, Any],
    order: Sequence[int],
    folder: str,
    notes: list[str],
) -> dict[str, Tensor]:
    """The encoder and its language-model head as a fairseq RoBERTa's state dict.

    Args:
        family: the model's.
        found: the folder's tensors; those that are taken over are removed.
        settings: of the model; ``untie_weights_roberta`` is set where the decoder is another one.
        order: for each index of fairseq's dictionary the row of the folder's embeddings.
        folder: its path, for errors.
        notes: sentences about what could not be taken over are added.

    Raises:
        DwtError: a tensor is missing, or of another shape than config.json says.
    """
    bare = "embeddings.word_embeddings.weight" in found
    prefix = "" if bare else family.prefix
    tensors: dict[str, Tensor] = {}
    for ours, theirs in family.encoder_names(settings["encoder_layers"]).items():
        if prefix + theirs not in found:
            raise DwtError(
                f"{folder}: expected tensor {prefix + theirs}, found none; the weights are not "
                f"those of a {family.stem} of the size that config.json says"
            )
        tensors[ours] = found.pop(prefix + theirs)
    _check_sizes(family, tensors, settings, folder)
    rows = torch.tensor(list(order))
    moved = list(order) != list(range(len(order)))
    words = tensors[f"{ENCODER}embed_tokens.weight"]
    types = found.pop(f"{prefix}embeddings.token_type_embeddings.weight", None)
    _fold_positions(family, tensors, types, notes)
    names = family.lm_head_names()
    decoder = found.pop(names.pop("encoder.lm_head.weight"), None)
    lm_head = {ours: found.pop(name) for ours, name in names.items() if name in found}
    # a second name of the same tensor
    twin = found.pop(f"{family.lm_head['weight'][: -len('weight')]}bias", None)
    if twin is not None and not torch.equal(lm_head.setdefault("encoder.lm_head.bias", twin), twin):
        raise DwtError(f"{folder}: expected one bias of the language-model head, got two others")
    empty = empty_lm_head(words)
    if not lm_head:
        notes.append("the folder has no language-model head; zeros were written in its place")
        lm_head = empty
    elif {n: t.shape for n, t in lm_head.items()} != {n: t.shape for n, t in empty.items()}:
        raise DwtError(f"{folder}: lm_head: expected the head of this model, got other shapes")
    if decoder is not None and decoder.shape != words.shape:
        raise DwtError(
            f"{folder}: {family.lm_head['weight']}: expected shape {tuple(words.shape)}, got "
            f"{tuple(decoder.shape)}"
        )
    tied = decoder is None or torch.equal(decoder, words)
    if not tied:
        settings["untie_weights_roberta"] = True
    if moved:
        words = words[rows]
        tensors[f"{ENCODER}embed_tokens.weight"] = words
        lm_head["encoder.lm_head.bias"] = lm_head["encoder.lm_head.bias"][rows]
    tensors.update(lm_head)
    tensors["encoder.lm_head.weight"] = words
    if not tied and decoder is not None:
        tensors["encoder.lm_head.weight"] = decoder[rows] if moved else decoder
    return tensors


def _fold_positions(
    family: Family, tensors: dict[str, Tensor], types: Tensor | None, notes: list[str]
) -> None:
    """Add the embedding of token type 0 to every position's; put fairseq's two rows in front."""
    name = f"{ENCODER}embed_positions.weight"
    positions = tensors[name]
    if types is not None:
        if types.dim() != 2 or types.shape[1] != positions.shape[1] or not len(types):
            raise DwtError(
                f"token_type_embeddings: expected width {positions.shape[1]}, got "
                f"{tuple(types.shape)}"
            )
        if types[0].any():
            positions = (positions.float() + types[0].float()).to(positions.dtype)
        if not torch.equal(types, types[:1].expand_as(types)):
            notes.append(
                "token types: fairseq has none, type 0 was folded into the positions and the "
                "others are left out"
                + (
                    "; BERT marks the second sentence of a pair with type 1, so that pairs give "
                    "other results here, single sentences the same"
                    if family.bert
                    else "; this model's tokenizer gives no others"
                )
            )
    if family.offset == 0:
        positions = torch.cat([positions.new_zeros(2, positions.shape[1]), positions])
    tensors[name] = positions


def _check_sizes(
    family: Family, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], folder: str
) -> None:
    width, inner = settings["encoder_embed_dim"], settings["encoder_ffn_embed_dim"]
    words = tensors[f"{ENCODER}embed_tokens.weight"]
    expected: dict[str, tuple[int, ...]] = {
        f"{ENCODER}embed_tokens.weight": (words.numel() // width, width),
        f"{ENCODER}embed_positions.weight": (settings["max_positions"] + family.offset, width),
        f"{ENCODER}layernorm_embedding.weight": (width,),
        f"{ENCODER}layernorm_embedding.bias": (width,),
    }
    for layer in range(settings["encoder_layers"]):
        for ours in family.layer:
            shape: tuple[int, ...] = (width, width)
            if ours in ("fc1", "fc2"):
                shape = (inner, width) if ours == "fc1" else (width, inner)
            elif ours.endswith("layer_norm"):
                shape = (width,)
            expected[f"{ENCODER}layers.{layer}.{ours}.weight"] = shape
            expected[f"{ENCODER}layers.{layer}.{ours}.bias"] = shape[:1]
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape or not tensors[name].is_floating_point():
            raise DwtError(
                f"{folder}: {name}: expected shape {shape} as config.json says, got "
                f"{tuple(tensors[name].shape)} of {tensors[name].dtype}; weights and config belong "
                "to different models"
            )


def epsilon_note(family: Family, config: Mapping[str, Any]) -> str | None:
    """What is said of a LayerNorm whose epsilon fairseq does not have; None where it has."""
    epsilon = config.get("layer_norm_eps", 1e-12) if family.types else 1e-12
    if not family.bert or epsilon == EPSILON:
        return None
    return (
        f"LayerNorm: epsilon is {epsilon:g} in the folder and {EPSILON:g} in fairseq; results "
        "differ by what that makes (docs/deltas.md, Hugging Face)"
    )
