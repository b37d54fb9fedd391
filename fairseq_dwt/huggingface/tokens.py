"""fairseq's vocabulary files as a tokenizer that numbers tokens as Hugging Face's model does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DwtError
from .families import FAMILIES
from .pieces import parse
from .vocabulary import BERT_MARKS, CAMEMBERT_FIRST, MASK, SENTENCEPIECE, SPECIAL

_ROLES = ("bos", "pad", "eos", "unk", "cls", "sep", "mask")
_NAMES = dict(zip(_ROLES, (*SPECIAL, "<s>", "</s>", MASK)))


@dataclass(frozen=True)
class Tokens:
    """A tokenizer's files.

    Attributes:
        model_type: of the model that it belongs to.
        rows: for each index of Hugging Face's the one of fairseq's dictionary.
        files: ``{name: text, bytes or a JSON object}``.
        special_ids: config.json's settings that name special tokens.
    """

    model_type: str
    rows: list[int]
    files: dict[str, Any]
    special_ids: dict[str, int]


def tokens_of(
    dictionary: str,
    size: int,
    tokens: Mapping[str, str],
    model_type: str | None,
    cased: bool,
    max_positions: int,
    separators: int | None = None,
) -> Tokens:
    """The tokenizer of a model.

    Args:
        dictionary: path of dict.txt.
        size: rows of the embeddings.
        tokens: see :func:`~fairseq_dwt.huggingface.export_folder`.
        model_type: one of the families; None chooses.
        cased: word pieces keep case.
        max_positions: of the model.
        separators: how many </s> between two sentences the model was trained with; None: as many
            as those of its class.

    Raises:
        DwtError: the vocabulary's files do not belong together, or are none of ``model_type``, or
            its tokenizer separates no pairs so.
    """
    symbols = _read_symbols(dictionary, size)
    kinds = ("roberta",)
    if "vocab_file" in tokens:
        kinds = ("roberta", "bert", "distilbert")  # type: ignore[assignment]
    elif "sentencepiece_model" in tokens:
        camembert = set(CAMEMBERT_FIRST) <= {*symbols}
        kinds = ("camembert",) if camembert else ("xlm-roberta",)
    kind = kinds[0] if model_type is None else model_type
    if kind not in kinds:
        raise DwtError(
            f"--model-type: expected {' or '.join(kinds)} for this vocabulary, got {kind}; its "
            "tokens are of another kind"
        )
    config: dict[str, Any] = {f"{role}_token": token for role, token in _NAMES.items()}
    config["model_max_length"] = max_positions
    plain = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    if FAMILIES[kind].bert:
        two = separators == 2
        return _bert(symbols, tokens["vocab_file"], kind, cased, max_positions, two)
    two = separators != 1
    if "vocab_file" in tokens:
        files = _word_pieces(symbols, tokens, cased, two, config)
        return Tokens(kind, list(range(size)), files, plain)
    if "sentencepiece_model" in tokens:
        return _sentencepiece(symbols, tokens["sentencepiece_model"], kind, two, config)
    if not two:
        raise DwtError(
            "separator_token: expected 2, two </s> between two sentences as every RobertaTokenizer "
            "of transformers puts them, got none, with which this head was trained; train it with "
            "task.separator_token=2"
        )
    return Tokens(kind, list(range(size)), _byte_level(symbols, tokens, config), plain)


def _read_symbols(dictionary: str, size: int) -> list[str]:
    """dict.txt's symbols by index, special ones and <mask> included."""
    try:
        # not splitlines: word pieces may be U+2028 and the like
        lines = Path(dictionary).read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DwtError(f"{dictionary}: expected the model's dict.txt ({error})") from None
    symbols = [*SPECIAL, *(line.rpartition(" ")[0] for line in lines)]
    if MASK not in symbols:
        symbols.append(MASK)
    if len(symbols) != size:
        raise DwtError(
            f"{dictionary}: expected {size} entries with <mask>, the rows of the embeddings, got "
            f"{len(symbols)}; name the model's own dict.txt"
        )
    return symbols


def _read_pieces(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").rstrip("\n").split("\n")


def _lacking(path: str, lacking: Sequence[str]) -> DwtError:
    return DwtError(
        f"{path}: expected pieces that dict.txt lists, got {len(lacking)} others ({lacking[0]!r}), "
        "which would be split otherwise there"
    )


def _rows(names: Sequence[str], symbols: Sequence[str], path: str) -> list[int]:
    """For each name its index among ``symbols``, then the indices that no name has."""
    index_of = {symbol: index for index, symbol in enumerate(symbols)}
    rest = [index for index, name in enumerate(names) if name not in (*SPECIAL, MASK)]
    rows = [index_of.get(name, -1) for name in names]
    for place, index in enumerate(rest, start=len(SPECIAL)):
        # import-hf lists so what dict.txt cannot
        if rows[index] < 0 and place < len(symbols) and symbols[place] == f"unused{place}":
            rows[index] = place
    lacking = [name for name, row in zip(names, rows) if row < 0]
    if lacking or len(set(rows)) < len(rows):
        raise _lacking(path, lacking or ["a piece twice"])
    return [*rows, *sorted(set(range(len(symbols))) - set(rows))]


def _bert(
    symbols: Sequence[str], path: str, kind: str, cased: bool, length: int, two: bool
) -> Tokens:
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import TemplateProcessing

    pieces = _read_pieces(path)
    ours = dict(zip(BERT_MARKS, (*SPECIAL, MASK)))
    missing = [mark for mark in BERT_MARKS if mark not in pieces]
    if missing:
        raise DwtError(
            f"{path}: expected {missing[0]} among the word pieces as in every BERT, got none; "
            "export as --model-type roberta"
        )
    rows = _rows([ours.get(piece, piece) for piece in pieces], symbols, path)
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=not cased)
    cls, pad, sep, unk, mask = BERT_MARKS
    middle = f"{sep}:0 {sep}:0" if two else f"{sep}:0"
    tokenizer.post_processor = TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {middle} $B:1 {sep}:1",
        special_tokens=[(cls, vocabulary[cls]), (sep, vocabulary[sep])],
    )
    name = "DistilBertTokenizer" if kind == "distilbert" else "BertTokenizer"
    inputs = ["input_ids", "attention_mask"]
    config = {
        **{f"{role}_token": token for role, token in zip(("cls", "pad", "sep"), BERT_MARKS)},
        "unk_token": unk,
        "mask_token": mask,
        "do_lower_case": not cased,
        "model_max_length": length,
        # transformers' own classes put one [SEP] between two sentences whatever the file says
        "tokenizer_class": "PreTrainedTokenizerFast" if two else name,
        "model_input_names": inputs if kind == "distilbert" else [*inputs, "token_type_ids"],
    }
    files = {
        "vocab.txt": "".join(f"{piece}\n" for piece in pieces),
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": config,
    }
    return Tokens(kind, rows, files, {"pad_token_id": vocabulary[pad]})


def _word_pieces(
    symbols: Sequence[str],
    tokens: Mapping[str, str],
    cased: bool,
    two: bool,
    config: dict[str, Any],
) -> dict[str, Any]:
    """Word pieces in a RoBERTa's numbers."""
    from tokenizers import BertWordPieceTokenizer

    index_of = {symbol: index for index, symbol in enumerate(symbols)}
    pieces = _read_pieces(tokens["vocab_file"])
    # what fairseq's encoder prints and dict.txt does not list is unknown to the model
    vocabulary = {piece: index_of[piece] for piece in pieces if piece in index_of}
    lacking = sorted(set(pieces) - set(vocabulary) - set(BERT_MARKS))
    if lacking:
        raise _lacking(tokens["vocab_file"], lacking)
    vocabulary.update((special, index_of[special]) for special in (*SPECIAL, MASK))
    tokenizer = BertWordPieceTokenizer(
        vocabulary,
        unk_token="[UNK]" if "[UNK]" in vocabulary else "<unk>",
        sep_token="</s>",
        cls_token="<s>",
        pad_token="<pad>",
        mask_token=MASK,
        lowercase=not cased,
    )
    tokenizer.post_processor = _between({"<s>": 0, "</s>": 2}, two)
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    return {"tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": config}


def _between(ids: Mapping[str, int], two: bool) -> Any:
    """``<s> A </s> B </s>``, or with two </s> in the middle."""
    from tokenizers.processors import TemplateProcessing

    return TemplateProcessing(
        single="<s> $A </s>",
        pair=f"<s> $A </s>{' </s>' if two else ''} $B </s>",
        special_tokens=[(name, ids[name]) for name in ("<s>", "</s>")],
    )


def _sentencepiece(
    symbols: Sequence[str], path: str, kind: str, two: bool, config: dict[str, Any]
) -> Tokens:
    from tokenizers import Tokenizer
    from tokenizers.models import Unigram
    from tokenizers.normalizers import Precompiled
    from tokenizers.pre_tokenizers import Metaspace, WhitespaceSplit
    from tokenizers.pre_tokenizers import Sequence as Steps

    data = Path(path).read_bytes()
    pieces = parse(data, path)
    first = CAMEMBERT_FIRST if kind == "camembert" else SPECIAL
    scored: list[tuple[str, float]] = [(name, 0.0) for name in first]
    scored += [*pieces.scored[3:], (MASK, 0.0)]
    rows = _rows([name for name, _ in scored], symbols, path)
    ids = {name: index for index, (name, _) in enumerate(scored)}
    tokenizer = Tokenizer(Unigram(scored, unk_id=3, byte_fallback=False))
    if pieces.table:
        tokenizer.normalizer = Precompiled(pieces.table)
    tokenizer.pre_tokenizer = Steps([WhitespaceSplit(), Metaspace("▁", "always")])
    tokenizer.post_processor = _between(ids, two)
    tokenizer.add_special_tokens([*SPECIAL, MASK])
    name = "CamembertTokenizer" if kind == "camembert" else "XLMRobertaTokenizer"
    # transformers' own classes put two, whatever the file says
    config["tokenizer_class"] = name if two else "PreTrainedTokenizerFast"
    files = {
        SENTENCEPIECE: data,
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": config,
    }
    special = {"bos_token_id": ids["<s>"], "pad_token_id": 1, "eos_token_id": ids["</s>"]}
    return Tokens(kind, rows, files, special)


def _byte_level(
    symbols: Sequence[str], tokens: Mapping[str, str], config: dict[str, Any]
) -> dict[str, Any]:
    """GPT-2's BPE in a RoBERTa's numbers."""
    with open(tokens["encoder_json"], encoding="utf-8") as file:
        encoder = {str(index): token for token, index in json.load(file).items()}
    vocabulary = {encoder.get(symbol, symbol): index for index, symbol in enumerate(symbols)}
    merges = Path(tokens["vocab_bpe"]).read_text(encoding="utf-8")
    merged = merges.split("\n")[1:-1]
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
    return {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False),
        "merges.txt": merges,
        "tokenizer_config.json": config,
    }
