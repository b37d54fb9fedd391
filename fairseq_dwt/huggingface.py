"""Hugging Face RoBERTa folders ↔ fairseq checkpoints: weights, sizes, heads, vocabulary.

The two are the same network under other names. Two things differ: Hugging Face adds the embedding
of token type 0 to every token, which goes into the position embeddings here; and its ``vocab.json``
numbers tokens as fairseq's model does, where fairseq's dict.txt lists GPT-2's own numbers. Those
follow from the merges: 256 bytes in a fixed order, then one token a merge.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .checkpoint import Pretrained, Tuned, save_roberta
from .delta import check_head, only_head
from .errors import DwtError
from .files import read_safetensors, replacing, replacing_folder

__all__ = ["export_folder", "import_folder", "read_folder"]

_ENCODER = "encoder.sentence_encoder."
_EMBEDDINGS = {
    "embed_tokens.weight": "word_embeddings.weight",
    "embed_positions.weight": "position_embeddings.weight",
    "layernorm_embedding.weight": "LayerNorm.weight",
    "layernorm_embedding.bias": "LayerNorm.bias",
}
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
_LM_HEAD = {
    "dense.weight": "dense.weight",
    "dense.bias": "dense.bias",
    "layer_norm.weight": "layer_norm.weight",
    "layer_norm.bias": "layer_norm.bias",
    "weight": "decoder.weight",
    "bias": "bias",
}
_HEAD = "sentence_classification_head"
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_MASK = "<mask>"
_BERT_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def _name_pairs(layers: int) -> Dict[str, str]:
    """``{fairseq's name: Hugging Face's}`` of the encoder and of the LM head."""
    pairs = {_ENCODER + ours: f"roberta.embeddings.{hf}" for ours, hf in _EMBEDDINGS.items()}
    for layer in range(layers):
        for ours, hf in _LAYER.items():
            for part in ("weight", "bias"):
                name = f"{_ENCODER}layers.{layer}.{ours}.{part}"
                pairs[name] = f"roberta.encoder.layer.{layer}.{hf}.{part}"
    pairs.update({f"encoder.lm_head.{ours}": f"lm_head.{hf}" for ours, hf in _LM_HEAD.items()})
    return pairs


# -- Hugging Face → fairseq ------------------------------------------------------------------------


@dataclass(frozen=True)
class Folder:
    """A Hugging Face RoBERTa folder, in fairseq's terms.

    Attributes:
        tensors: the state dict of a fairseq RoBERTa; with a head if the folder has one.
        settings: of the model.
        task: settings of the task: masked LM or, with a head, sentence prediction.
        labels: label strings by class index; None without a head.
        files: of the vocabulary, ``{file name: text}``.
        notes: sentences about what the folder lacked.
    """

    tensors: Dict[str, Tensor]
    settings: Dict[str, Any]
    task: Dict[str, Any]
    labels: Optional[List[str]]
    files: Dict[str, str]
    notes: List[str]


def import_folder(folder: str, output: str) -> Tuple[List[str], List[str]]:
    """Write a fairseq checkpoint from a Hugging Face folder, the vocabulary's files beside it.

    Args:
        folder: config.json; model.safetensors (or its shards, or pytorch_model.bin); vocab.json
            and merges.txt, or tokenizer.json.
        output: the checkpoint to write. Beside it: dict.txt, and encoder.json and vocab.bpe (BPE)
            or vocab.txt (word pieces).

    Returns:
        the paths written, and sentences about what the folder lacked.

    Raises:
        DwtError: no such folder, or no RoBERTa that fairseq can run; nothing is written.
    """
    read = read_folder(folder)
    beside = os.path.dirname(os.path.abspath(output))
    for name, text in read.files.items():
        path = os.path.join(beside, name)
        if os.path.exists(path) and Path(path).read_text(encoding="utf-8") != text:
            raise DwtError(
                f"{path}: expected no vocabulary of another model beside {output}, got one; write "
                "into a folder of its own"
            )
    written = []
    for name, text in read.files.items():
        path = os.path.join(beside, name)
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        written.append(path)
    save_roberta(output, read.tensors, read.settings, read.task, labels=read.labels)
    return [output, *written], read.notes


def read_folder(folder: str) -> Folder:
    """Read a Hugging Face RoBERTa folder (see :func:`import_folder`); runs no code from it."""
    try:
        return _read_folder(folder)
    except DwtError:
        raise
    except Exception as error:  # whatever tensors and JSON of another shape lead to
        raise DwtError(
            f"{folder}: expected a Hugging Face RoBERTa, got a folder with other content "
            f"({type(error).__name__}: {error}); fetch it again"
        ) from None


def _read_folder(folder: str) -> Folder:
    config = _read_json(folder, "config.json")
    settings = _settings(config, os.path.join(folder, "config.json"))
    found = _read_weights(folder)
    prefix = "" if "embeddings.word_embeddings.weight" in found else "roberta."
    notes = []
    tensors: Dict[str, Tensor] = {}
    pairs = _name_pairs(settings["encoder_layers"])
    for ours, hf in pairs.items():
        name = hf if hf.startswith("lm_head.") else prefix + hf[len("roberta.") :]
        if ours == "encoder.lm_head.weight":
            continue
        if name in found:
            tensors[ours] = found[name]
        elif not ours.startswith("encoder.lm_head."):
            raise DwtError(
                f"{folder}: expected tensor {name}, found none; the weights are not those of a "
                "RoBERTa of the size that config.json says"
            )
    words = tensors[f"{_ENCODER}embed_tokens.weight"]
    _check_sizes(tensors, settings, folder)
    _fold_token_type(tensors, found.get(f"{prefix}embeddings.token_type_embeddings.weight"))
    lm_head = {n: t for n, t in tensors.items() if n.startswith("encoder.lm_head.")}
    if not lm_head:
        notes.append("the folder has no language-model head; zeros were written in its place")
        tensors.update(_empty_lm_head(words))
    elif {n: t.shape for n, t in lm_head.items()} != {
        n: t.shape for n, t in _empty_lm_head(words).items()
    }:
        raise DwtError(f"{folder}: lm_head: expected the head of this model, got other shapes")
    decoder = found.get("lm_head.decoder.weight")
    if decoder is not None and decoder.shape != words.shape:
        raise DwtError(f"{folder}: lm_head.decoder.weight: expected shape {tuple(words.shape)}")
    if decoder is not None and not torch.equal(decoder, words):
        settings["untie_weights_roberta"] = True
        words = decoder
    tensors["encoder.lm_head.weight"] = words
    task, labels = _import_head(found, tensors, config)
    files = _vocabulary_files(folder, words.shape[0])
    return Folder(tensors, settings, task, labels, files, notes)


def _settings(config: Mapping[str, Any], where: str) -> Dict[str, Any]:
    """fairseq's settings of the model; refuses what its RoBERTa cannot compute."""

    def refuse(what: str, expected: str, got: Any) -> DwtError:
        return DwtError(
            f"{where}: {what}: expected {expected}, got {got!r}; fairseq's RoBERTa computes no "
            "other"
        )

    if config.get("model_type") != "roberta":
        raise refuse("model_type", "roberta", config.get("model_type"))
    for key, expected in (
        ("hidden_act", "gelu"),
        ("layer_norm_eps", 1e-5),
        ("position_embedding_type", "absolute"),
        ("is_decoder", False),
        ("add_cross_attention", False),
        ("pad_token_id", 1),
    ):
        # what transformers assumes where config.json is silent
        assumed = 1e-12 if key == "layer_norm_eps" else expected
        if config.get(key, assumed) not in (expected, None):
            raise refuse(key, repr(expected), config.get(key, assumed))
    sizes = {
        "encoder_layers": config.get("num_hidden_layers"),
        "encoder_embed_dim": config.get("hidden_size"),
        "encoder_ffn_embed_dim": config.get("intermediate_size"),
        "encoder_attention_heads": config.get("num_attention_heads"),
        "max_positions": config.get("max_position_embeddings"),
    }
    for name, size in sizes.items():
        if type(size) is not int or not 0 < size < (1000 if name == "encoder_layers" else 10**6):
            raise refuse(name, "a size", size)
    if config["hidden_size"] % config["num_attention_heads"]:
        raise refuse("num_attention_heads", "a divisor of hidden_size", config["hidden_size"])
    # fairseq counts positions from padding_idx + 1 = 2
    sizes["max_positions"] -= 2  # type: ignore[operator]
    return {
        **sizes,
        "activation_fn": "gelu",
        "pooler_activation_fn": "tanh",
        "dropout": config.get("hidden_dropout_prob", 0.1),
        "attention_dropout": config.get("attention_probs_dropout_prob", 0.1),
    }


def _fold_token_type(tensors: Dict[str, Tensor], types: Optional[Tensor]) -> None:
    """Add the embedding of token type 0, which every token has, to every position's."""
    name = f"{_ENCODER}embed_positions.weight"
    positions = tensors[name]
    if types is not None and (types.dim() != 2 or types.shape[1] != positions.shape[1]):
        raise DwtError(
            f"token_type_embeddings: expected width {positions.shape[1]}, got {tuple(types.shape)}"
        )
    if types is not None and types[0].any():
        tensors[name] = (positions.float() + types[0].float()).to(positions.dtype)


def _empty_lm_head(words: Tensor) -> Dict[str, Tensor]:
    size, width = words.shape
    return {
        "encoder.lm_head.dense.weight": words.new_zeros(width, width),
        "encoder.lm_head.dense.bias": words.new_zeros(width),
        "encoder.lm_head.layer_norm.weight": words.new_ones(width),
        "encoder.lm_head.layer_norm.bias": words.new_zeros(width),
        "encoder.lm_head.bias": words.new_zeros(size),
    }


def _import_head(
    found: Mapping[str, Tensor], tensors: Dict[str, Tensor], config: Mapping[str, Any]
) -> Tuple[Dict[str, Any], Optional[List[str]]]:
    """Take over the classification head, if there is one: the task's settings, its labels."""
    if "classifier.dense.weight" not in found:
        return {"_name": "masked_lm"}, None
    for part in ("dense.weight", "dense.bias", "out_proj.weight", "out_proj.bias"):
        tensors[f"classification_heads.{_HEAD}.{part}"] = found[f"classifier.{part}"]
    classes = found["classifier.out_proj.weight"].shape[0]
    named = config.get("id2label") or {}
    task = {
        "_name": "sentence_prediction",
        "num_classes": classes,
        "init_token": 0,
        "separator_token": 2,
        "classification_head_name": _HEAD,
        "regression_target": config.get("problem_type") == "regression" or classes == 1,
    }
    if task["regression_target"]:
        return task, []
    return task, [str(named.get(str(i), named.get(i, f"LABEL_{i}"))) for i in range(classes)]


def _check_sizes(tensors: Mapping[str, Tensor], settings: Mapping[str, Any], folder: str) -> None:
    width, inner = settings["encoder_embed_dim"], settings["encoder_ffn_embed_dim"]
    words = tensors[f"{_ENCODER}embed_tokens.weight"]
    expected: Dict[str, Tuple[int, ...]] = {
        f"{_ENCODER}embed_tokens.weight": (words.numel() // width, width),
        f"{_ENCODER}embed_positions.weight": (settings["max_positions"] + 2, width),
        f"{_ENCODER}layernorm_embedding.weight": (width,),
    }
    for layer in range(settings["encoder_layers"]):
        for ours in _LAYER:
            shape: Tuple[int, ...] = (width, width)
            if ours in ("fc1", "fc2"):
                shape = (inner, width) if ours == "fc1" else (width, inner)
            elif ours.endswith("layer_norm"):
                shape = (width,)
            expected[f"{_ENCODER}layers.{layer}.{ours}.weight"] = shape
            expected[f"{_ENCODER}layers.{layer}.{ours}.bias"] = shape[:1]
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape or not tensors[name].is_floating_point():
            raise DwtError(
                f"{folder}: {name}: expected shape {shape} as config.json says, got "
                f"{tuple(tensors[name].shape)} of {tensors[name].dtype}; weights and config belong "
                "to different models"
            )


def _read_json(folder: str, name: str) -> Dict[str, Any]:
    path = os.path.join(folder, name)
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except FileNotFoundError:
        raise DwtError(
            f"{path}: expected a file of a Hugging Face model folder, found none; check the path"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DwtError(f"{path}: expected JSON, cannot read it ({error}); fetch it again") from None
    if not isinstance(data, dict):
        raise DwtError(f"{path}: expected a JSON object, got {type(data).__name__}; fetch it again")
    return data


def _read_weights(folder: str) -> Dict[str, Tensor]:
    """The folder's tensors, mapped from model.safetensors, its shards, or pytorch_model.bin."""
    index = os.path.join(folder, "model.safetensors.index.json")
    if os.path.isfile(os.path.join(folder, "model.safetensors")):
        names = ["model.safetensors"]
    elif os.path.isfile(index):
        shards = _read_json(folder, "model.safetensors.index.json").get("weight_map")
        if not isinstance(shards, dict):
            raise DwtError(f'{index}: expected an object "weight_map"; fetch the file again')
        names = sorted({str(name) for name in shards.values()})
        strange = [name for name in names if os.path.basename(name) != name]
        if strange:
            raise DwtError(f"{index}: expected names of files beside it, got {strange[0]!r}")
    elif os.path.isfile(os.path.join(folder, "pytorch_model.bin")):
        return _read_bin(os.path.join(folder, "pytorch_model.bin"))
    else:
        raise DwtError(
            f"{folder}: expected model.safetensors or pytorch_model.bin, found neither; fetch the "
            "model's weights"
        )
    tensors: Dict[str, Tensor] = {}
    for name in names:
        tensors.update(read_safetensors(os.path.join(folder, name))[1])
    return tensors


def _read_bin(path: str) -> Dict[str, Tensor]:
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


# -- vocabularies ----------------------------------------------------------------------------------


def _vocabulary_files(folder: str, size: int) -> Dict[str, str]:
    """The files that fairseq needs to make tokens and to number them: ``{name: text}``."""
    where = os.path.join(folder, "tokenizer.json")
    settings = os.path.join(folder, "tokenizer_config.json")
    if os.path.isfile(settings) and _read_json(folder, "tokenizer_config.json").get(
        "add_prefix_space"
    ):
        raise DwtError(
            f"{settings}: add_prefix_space: expected false, got true; fairseq's encoder puts no "
            "space before a sentence"
        )
    if os.path.isfile(os.path.join(folder, "vocab.json")):
        where = os.path.join(folder, "vocab.json")
        vocabulary, merges = _read_json(folder, "vocab.json"), _read_merges_txt(folder)
        kind: Any = "BPE"
    else:
        tokenizer = _read_json(folder, "tokenizer.json")
        model = tokenizer.get("model")
        if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
            raise DwtError(f"{where}: expected a model with a vocabulary; fetch the file again")
        vocabulary, kind = dict(model["vocab"]), model.get("type")
        splits = tokenizer.get("pre_tokenizer") or {}
        plain = splits.get("type") == "ByteLevel" and not splits.get("add_prefix_space")
        if kind == "BPE" and (not plain or tokenizer.get("normalizer")):
            raise DwtError(
                f"{where}: expected GPT-2's byte-level BPE without a normalizer or a space put "
                "before a sentence, got another; fairseq's encoder has no other"
            )
        merges = [_pair(merge, where) for merge in model.get("merges") or []]
        for token in tokenizer.get("added_tokens") or []:
            if isinstance(token, dict) and "content" in token and "id" in token:
                vocabulary.setdefault(token["content"], token["id"])
    by_index = _by_index(vocabulary, size, where)
    if kind == "WordPiece":
        return {"dict.txt": _dict_txt(by_index, {}), "vocab.txt": _vocab_txt(by_index)}
    if kind != "BPE":
        raise DwtError(f"{where}: expected byte-level BPE or word pieces, got {kind!r}")
    encoder = _gpt2_ids(merges)
    return {
        "dict.txt": _dict_txt(by_index, encoder),
        "encoder.json": json.dumps(encoder),
        "vocab.bpe": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges),
    }


def _by_index(vocabulary: Mapping[Any, Any], size: int, where: str) -> List[Optional[str]]:
    """Tokens by index, None where none is (rows of the embeddings that no token uses)."""
    tokens: List[Optional[str]] = [None] * size
    for token, index in vocabulary.items():
        if type(index) is not int or not 0 <= index < size:
            raise DwtError(
                f"{where}: {token!r}: expected an index below {size}, the rows of the embeddings, "
                f"got {index!r}; weights and vocabulary belong to different models"
            )
        tokens[index] = str(token)
    for index, special in enumerate(_SPECIAL):
        if size <= index or tokens[index] != special:
            raise DwtError(
                f"{where}: expected {special} at index {index} as in every RoBERTa, got "
                f"{tokens[index] if index < size else None!r}"
            )
    return tokens


def _dict_txt(by_index: Sequence[Optional[str]], encoder: Mapping[str, int]) -> str:
    """fairseq's dictionary: what its encoder prints for each index from 4 on."""
    lines = []
    rest = list(enumerate(by_index))[len(_SPECIAL) :]
    if rest and rest[-1][1] == _MASK:
        rest.pop()  # fairseq's tasks append it
    for index, token in rest:
        symbol = f"unused{index}" if token is None else str(encoder.get(token, token))
        if re.search(r"\s", symbol):
            symbol = f"unused{index}"  # no encoder of fairseq's can print it
        lines.append(f"{symbol} 1\n")
    return "".join(lines)


def _vocab_txt(by_index: Sequence[Optional[str]]) -> str:
    """BERT's vocabulary; the order does not matter to fairseq, which goes by the piece."""
    pieces = [t for t in by_index[len(_SPECIAL) :] if t is not None and t != _MASK]
    marks = [mark for mark in _BERT_MARKS if mark not in pieces]
    return "".join(f"{piece}\n" for piece in [*marks, *pieces])


def _byte_symbols() -> List[str]:
    """The characters that stand for the 256 bytes in GPT-2's BPE, in the order of its numbers.

    Printable bytes stand for themselves, the others for the characters from 256 on.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def _gpt2_ids(merges: Sequence[Tuple[str, str]]) -> Dict[str, int]:
    """GPT-2's encoder.json of these merges: bytes, one token a merge, the end of text."""
    tokens = [*_byte_symbols(), *(a + b for a, b in merges), "<|endoftext|>"]
    return {token: index for index, token in enumerate(tokens)}


def _read_merges_txt(folder: str) -> List[Tuple[str, str]]:
    path = os.path.join(folder, "merges.txt")
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise DwtError(f"{path}: expected it beside vocab.json, found none; fetch it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DwtError(f"{path}: expected UTF-8 text, cannot read it ({error})") from None
    return [_pair(line, path) for line in lines if line and not line.startswith("#version")]


def _pair(merge: Any, where: str) -> Tuple[str, str]:
    pair = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(p, str) for p in pair):
        raise DwtError(f"{where}: expected two symbols to merge, got {merge!r:.60}; fetch it again")
    return pair[0], pair[1]


# -- fairseq → Hugging Face ------------------------------------------------------------------------


def export_folder(
    checkpoint: str, folder: str, dictionary: str, tokens: Mapping[str, str], cased: bool = False
) -> None:
    """Write a fairseq RoBERTa as a folder that ``transformers`` loads.

    Args:
        checkpoint: a pre-trained or fine-tuned (merged) checkpoint.
        folder: to write; must not exist or be empty.
        dictionary: path of the model's dict.txt.
        tokens: ``{"encoder_json": path, "vocab_bpe": path}`` (GPT-2 BPE), or ``{"vocab_file":
            path}`` (BERT's word pieces).
        cased: word pieces keep case.

    Raises:
        DwtError: no RoBERTa that Hugging Face's class computes, or the vocabulary does not fit.
    """
    from safetensors.torch import save_file

    folder = os.path.abspath(folder)
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise DwtError(f"{folder}: expected a new folder, got one with files; choose another name")
    pretrained, tuned = Pretrained(checkpoint), Tuned(checkpoint)
    config = _config(pretrained, tuned)
    tensors = {}
    source = {**pretrained.tensors, **pretrained.lm_head}
    for ours, hf in _name_pairs(pretrained.settings["encoder_layers"]).items():
        if ours in source:
            tensors[hf] = source[ours]
        elif not ours.startswith("encoder.lm_head."):
            raise DwtError(f"{checkpoint}: expected tensor {ours}, found none")
    if tuned.strange:
        raise DwtError(
            f"{checkpoint}: {tuned.strange[0]}: a tensor that Hugging Face's RoBERTa does not have"
        )
    words = tensors["roberta.embeddings.word_embeddings.weight"]
    tensors["roberta.embeddings.token_type_embeddings.weight"] = words.new_zeros(1, words.shape[1])
    heads = {n: t for n, t in tuned.tensors.items() if n.startswith("classification_heads.")}
    for name, tensor in heads.items():
        tensors["classifier." + name.split(".", 2)[2]] = tensor.to(tuned.saved_dtype)
    if heads:
        # a classifier has no language-model head
        tensors = {n: t for n, t in tensors.items() if not n.startswith("lm_head.")}
    elif config["tie_word_embeddings"]:
        tensors.pop("lm_head.decoder.weight", None)
    symbols = _read_symbols(dictionary, words.shape[0])
    files = _tokenizer_files(symbols, tokens, cased, pretrained.settings["max_positions"])
    with replacing_folder(Path(folder)) as partial:
        for name, content in {"config.json": config, **files}.items():
            text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
            (partial / name).write_text(text, encoding="utf-8")
        contiguous = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, str(partial / "model.safetensors"), metadata={"format": "pt"})


def _config(pretrained: Pretrained, tuned: Tuned) -> Dict[str, Any]:
    settings = pretrained.settings
    for key, expected in (
        ("activation_fn", "gelu"),
        ("pooler_activation_fn", "tanh"),
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
    width = settings["encoder_embed_dim"]
    words = pretrained.tensors[f"{_ENCODER}embed_tokens.weight"]
    config: Dict[str, Any] = {
        "model_type": "roberta",
        "architectures": ["RobertaForMaskedLM"],
        "vocab_size": words.shape[0],
        "hidden_size": width,
        "num_hidden_layers": settings["encoder_layers"],
        "num_attention_heads": settings["encoder_attention_heads"],
        "intermediate_size": settings["encoder_ffn_embed_dim"],
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": settings["max_positions"] + 2,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": not settings.get("untie_weights_roberta", False),
        "torch_dtype": str(words.dtype)[len("torch.") :],
    }
    if not any(name.startswith("classification_heads.") for name in tuned.tensors):
        return config
    _, head = only_head(tuned)
    labels = tuned.labels or []
    check_head(head, labels, tuned.path)
    if tuple(head["dense.weight"].shape) != (width, width):
        raise DwtError(
            f"{pretrained.path}: expected a classification head of width {width}, got "
            f"{tuple(head['dense.weight'].shape)}; Hugging Face's RoBERTa has no other"
        )
    classes = head["out_proj.weight"].shape[0]
    labels = labels or [f"LABEL_{i}" for i in range(classes)]
    config["architectures"] = ["RobertaForSequenceClassification"]
    config["id2label"] = {str(i): label for i, label in enumerate(labels)}
    config["label2id"] = {label: i for i, label in enumerate(labels)}
    if tuned.settings.get("regression_target"):
        config["problem_type"] = "regression"
    return config


def _read_symbols(dictionary: str, size: int) -> List[str]:
    """dict.txt's symbols by index, special ones and <mask> included."""
    try:
        # not splitlines: word pieces may be U+2028 and the like
        lines = Path(dictionary).read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DwtError(f"{dictionary}: expected the model's dict.txt ({error})") from None
    symbols = [*_SPECIAL, *(line.rpartition(" ")[0] for line in lines)]
    if _MASK not in symbols:
        symbols.append(_MASK)
    if len(symbols) != size:
        raise DwtError(
            f"{dictionary}: expected {size} entries with <mask>, the rows of the embeddings, got "
            f"{len(symbols)}; name the model's own dict.txt"
        )
    return symbols


def _tokenizer_files(
    symbols: Sequence[str], tokens: Mapping[str, str], cased: bool, max_positions: int
) -> Dict[str, Any]:
    """A tokenizer that numbers tokens as the model does: ``{file name: text or JSON}``."""
    named = dict(zip(("bos", "pad", "eos", "unk"), _SPECIAL), cls="<s>", sep="</s>", mask=_MASK)
    config: Dict[str, Any] = {f"{key}_token": token for key, token in named.items()}
    config["model_max_length"] = max_positions
    if "vocab_file" in tokens:
        from tokenizers import BertWordPieceTokenizer
        from tokenizers.processors import RobertaProcessing

        index_of = {symbol: index for index, symbol in enumerate(symbols)}
        pieces = Path(tokens["vocab_file"]).read_text(encoding="utf-8").rstrip("\n").split("\n")
        # what fairseq's encoder prints and dict.txt does not list is unknown to the model
        vocabulary = {piece: index_of[piece] for piece in pieces if piece in index_of}
        lacking = sorted(set(pieces) - set(vocabulary) - set(_BERT_MARKS))
        if lacking:
            raise DwtError(
                f"{tokens['vocab_file']}: expected pieces that dict.txt lists, got "
                f"{len(lacking)} others ({lacking[0]!r}), which would be split otherwise there"
            )
        vocabulary.update((special, index_of[special]) for special in (*_SPECIAL, _MASK))
        tokenizer = BertWordPieceTokenizer(
            vocabulary,
            unk_token="[UNK]" if "[UNK]" in vocabulary else "<unk>",
            sep_token="</s>",
            cls_token="<s>",
            pad_token="<pad>",
            mask_token=_MASK,
            lowercase=not cased,
        )
        tokenizer.post_processor = RobertaProcessing(
            ("</s>", 2), ("<s>", 0), trim_offsets=False, add_prefix_space=False
        )
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        return {"tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": config}
    with open(tokens["encoder_json"], encoding="utf-8") as file:
        encoder = {str(index): token for token, index in json.load(file).items()}
    vocabulary = {encoder.get(symbol, symbol): index for index, symbol in enumerate(symbols)}
    merged = Path(tokens["vocab_bpe"]).read_text(encoding="utf-8").split("\n")[1:-1]
    lacking = [line for line in merged if line.replace(" ", "") not in vocabulary]
    if lacking:
        raise DwtError(
            f"{tokens['vocab_bpe']}: expected merges into tokens that dict.txt lists, got "
            f"{len(lacking)} others ({lacking[0]!r}); transformers cannot load such a vocabulary"
        )
    if len(vocabulary) != len(symbols):
        raise DwtError(
            f"{tokens['encoder_json']}: expected a token of its own for each entry of dict.txt, "
            "got some twice; take both files from the same model"
        )
    config["tokenizer_class"], config["add_prefix_space"] = "RobertaTokenizer", False
    merges = Path(tokens["vocab_bpe"]).read_text(encoding="utf-8")
    return {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False),
        "merges.txt": merges,
        "tokenizer_config.json": config,
    }
