"""A Hugging Face folder read whole, and written as a fairseq checkpoint with its vocabulary."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import DwtError
from ..files import replacing
from ..model.roberta import save_roberta
from .families import HEAD, Family, family_of, settings_of
from .heads import head_of, refuse_left_over
from .jsons import read_json
from .vocabulary import read_vocabulary
from .weights import encoder_tensors, epsilon_note, read_weights


@dataclass(frozen=True)
class Folder:
    """A Hugging Face folder in fairseq's terms.

    Attributes:
        tensors: the state dict of a fairseq RoBERTa; with a head if the folder has one.
        settings: of the model.
        task: settings of the task: masked LM or, with a head, sentence prediction.
        labels: label strings by class index; None without a head.
        files: of the vocabulary, ``{file name: content}``.
        notes: sentences about what the folder lacked, and what was left out of it.
    """

    tensors: dict[str, Tensor]
    settings: dict[str, Any]
    task: dict[str, Any]
    labels: list[str] | None
    files: dict[str, bytes]
    notes: list[str]


def import_folder(folder: str, output: str) -> tuple[list[str], list[str]]:
    """Write a fairseq checkpoint from a Hugging Face folder, the vocabulary's files beside it.

    Args:
        folder: config.json; model.safetensors (or its shards, or pytorch_model.bin); the
            vocabulary: vocab.json and merges.txt, vocab.txt, sentencepiece.bpe.model, or
            tokenizer.json.
        output: the checkpoint to write. Beside it: dict.txt, and encoder.json and vocab.bpe (BPE),
            vocab.txt (word pieces) or sentencepiece.bpe.model.

    Returns:
        the paths written, and sentences about what the folder lacked or what was left out of it.

    Raises:
        DwtError: no such folder, no model that fairseq's RoBERTa computes, or something in it
            whose part in the result would be lost; nothing is written.
    """
    read = read_folder(folder)
    beside = os.path.dirname(os.path.abspath(output))
    for name, content in read.files.items():
        path = os.path.join(beside, name)
        if os.path.exists(path) and Path(path).read_bytes() != content:
            raise DwtError(
                f"{path}: expected no vocabulary of another model beside {output}, got one; write "
                "into a folder of its own"
            )
    written = [os.path.join(beside, name) for name in read.files]
    new = [path for path in written if not os.path.exists(path)]
    try:
        for path, content in zip(written, read.files.values()):
            with replacing(path) as temporary:
                Path(temporary).write_bytes(content)
        save_roberta(output, read.tensors, read.settings, read.task, labels=read.labels)
    except BaseException:
        for path in new:
            Path(path).unlink(missing_ok=True)
        raise
    return [output, *written], read.notes


def read_folder(folder: str) -> Folder:
    """Read a Hugging Face folder (see :func:`import_folder`); runs no code from it."""
    try:
        return _read_folder(folder)
    except DwtError:
        raise
    except Exception as error:  # whatever tensors and JSON of another shape lead to
        raise DwtError(
            f"{folder}: expected a Hugging Face RoBERTa or BERT, got a folder with other content "
            f"({type(error).__name__}: {error}); fetch it again"
        ) from None


def _read_folder(folder: str) -> Folder:
    config = read_json(folder, "config.json")
    where = os.path.join(folder, "config.json")
    family = family_of(config, where)
    settings = settings_of(family, config, where)
    found = read_weights(folder)
    notes: list[str] = []
    words = "embeddings.word_embeddings.weight"
    name = words if words in found else family.prefix + words
    size = found[name].shape[0] if name in found else 0
    head = head_of(family, found, config, folder)
    if name in found and found[name].dim() == 2 and found[name].shape[1] == settings[_WIDTH]:
        vocabulary = read_vocabulary(folder, family, size)
        order, files = vocabulary.order, vocabulary.files
        notes += vocabulary.notes
    else:
        order, files = [], {}  # encoder_tensors refuses such weights
    tensors = encoder_tensors(family, found, settings, order, folder, notes)
    refuse_left_over(family, found, folder, notes)
    note = epsilon_note(family, config)
    notes += [] if note is None else [note]
    if head is None:
        return Folder(tensors, settings, {"_name": "masked_lm"}, None, files, notes)
    settings["pooler_activation_fn"] = family.pooler_activation
    task, labels = _task(family, head, config, where)
    return Folder({**tensors, **head}, settings, task, labels, files, notes)


_WIDTH = "encoder_embed_dim"


def _task(
    family: Family, head: Mapping[str, Tensor], config: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], list[str]]:
    """The settings of the task that the head was trained on, and its labels."""
    classes = len(head[f"classification_heads.{HEAD}.out_proj.weight"])
    task = {
        "_name": "sentence_prediction",
        "num_classes": classes,
        "init_token": 0,
        # BERT has one [SEP] between two sentences, RoBERTa two </s>
        "separator_token": None if family.bert else 2,
        "classification_head_name": HEAD,
        "regression_target": classes == 1,
    }
    named = config.get("id2label") or {}
    if named and {str(index) for index in named} != {str(i) for i in range(classes)}:
        raise DwtError(
            f"{where}: id2label: expected a label for each of the head's {classes} classes, got "
            f"{len(named)}; correct it"
        )
    if classes == 1:
        return task, []
    labels = [str(named.get(str(i), named.get(i, f"LABEL_{i}"))) for i in range(classes)]
    if len(set(labels)) < classes:
        raise DwtError(f"{where}: id2label: expected labels that differ, got {labels}; name them")
    return task, labels
