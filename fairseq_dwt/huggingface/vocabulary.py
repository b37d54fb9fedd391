"""A Hugging Face folder's vocabulary as fairseq's files, and where each token's row lies.

fairseq's dictionary begins with <s>, <pad>, </s>, <unk> and ends with <mask>. RoBERTas are numbered
so; of the others rows are moved. RoBERTa's vocab.json numbers tokens as fairseq's model does, where
fairseq's dict.txt lists GPT-2's own numbers, which follow from the merges: 256 bytes in a fixed
order, then one token a merge.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DwtError
from .byte_level import gpt2_ids, pair_of, read_lines, read_merges
from .families import Family
from .jsons import read_json
from .pieces import Pieces, parse, serialize
from .splits import Tokenizer, check_byte_level, check_unigram, check_word_pieces

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"
#: BERT's tokens in the places of SPECIAL and MASK.
BERT_MARKS = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
#: CamemBERT's numbers go on after four of fairseq's that it does not use.
CAMEMBERT_FIRST = ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>")
SENTENCEPIECE = "sentencepiece.bpe.model"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in fairseq's order.

    Attributes:
        order: for each index of fairseq's dictionary the row of the folder's embeddings.
        files: that fairseq needs to make tokens and to number them, ``{name: content}``.
        notes: sentences about what a user must know of them.
    """

    order: list[int]
    files: dict[str, bytes]
    notes: list[str] = field(default_factory=list)


def read_vocabulary(folder: str, family: Family, size: int) -> Vocabulary:
    """The folder's vocabulary.

    Args:
        folder: its path.
        family: the model's.
        size: rows of its embeddings.

    Raises:
        DwtError: no vocabulary of this family, or files that split text in two ways.
    """
    tokenizer = Tokenizer.read(folder)
    if family.bert:
        return _word_pieces(folder, tokenizer, size)
    tokenizer.check_special(
        dict(zip(_ROLES, ("<s>", "<s>", "<pad>", "</s>", "</s>", "<unk>", MASK)))
    )
    if family.model_type in ("xlm-roberta", "camembert"):
        return _sentencepiece(folder, tokenizer, size, family.model_type == "camembert")
    return _roberta(folder, tokenizer, size)


_ROLES = (
    "bos_token",
    "cls_token",
    "pad_token",
    "eos_token",
    "sep_token",
    "unk_token",
    "mask_token",
)


def _roberta(folder: str, tokenizer: Tokenizer, size: int) -> Vocabulary:
    where = os.path.join(folder, "tokenizer.json")
    slow = os.path.isfile(os.path.join(folder, "vocab.json"))
    kind = "BPE" if slow and not tokenizer.fast else tokenizer.model(where).get("type")
    if kind == "WordPiece":  # as export-hf writes fairseq's --bpe bert
        cased = check_word_pieces(tokenizer, ("[UNK]", "<unk>"))
        tokenizer.check_added((*SPECIAL, MASK, "[UNK]"))
        by_index = _by_index(tokenizer.vocabulary(where), size, where, SPECIAL)
        text = "".join(f"{piece}\n" for piece in _with_marks(by_index))
        files = {"dict.txt": _dict_txt(by_index, {}), "vocab.txt": text}
        return Vocabulary(list(range(size)), _encoded(files), _case_note(cased))
    if kind != "BPE":
        raise DwtError(f"{where}: expected byte-level BPE or word pieces, got {kind!r}")
    tokenizer.check_added((*SPECIAL, MASK))
    if tokenizer.setting("add_prefix_space"):
        raise DwtError(
            f"{tokenizer.settings_path}: add_prefix_space: expected false, got true; fairseq's "
            "encoder puts no space before a sentence"
        )
    merges: list[tuple[str, str]] = []
    if tokenizer.fast:
        check_byte_level(tokenizer)
        vocabulary = tokenizer.vocabulary(where)
        merges = [pair_of(merge, where) for merge in tokenizer.model(where).get("merges") or []]
    if slow:
        path = os.path.join(folder, "vocab.json")
        listed, pairs = read_json(folder, "vocab.json"), read_merges(folder)
        # added tokens are in tokenizer.json alone
        lists_added = dict(vocabulary) if tokenizer.fast else {}
        if tokenizer.fast and {**lists_added, **listed} != vocabulary:
            raise tokenizer.two_ways(path, "the same tokens")
        if tokenizer.fast and pairs != merges:
            raise tokenizer.two_ways(os.path.join(folder, "merges.txt"), "the same merges")
        where, vocabulary, merges = path, {**lists_added, **listed}, pairs
    by_index = _by_index(vocabulary, size, where, SPECIAL)
    encoder = gpt2_ids(merges)
    order, by_index = _mask_last(by_index)
    files = {
        "dict.txt": _dict_txt(by_index, encoder),
        "encoder.json": json.dumps(encoder),
        "vocab.bpe": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges),
    }
    return Vocabulary(order, _encoded(files))


def _word_pieces(folder: str, tokenizer: Tokenizer, size: int) -> Vocabulary:
    cls, pad, sep, unk, mask = BERT_MARKS
    tokenizer.check_special(dict(zip(_ROLES, (cls, cls, pad, sep, sep, unk, mask))))
    tokenizer.check_added(BERT_MARKS)
    cased = check_word_pieces(tokenizer, (unk,))
    where = path = os.path.join(folder, "vocab.txt")
    vocabulary: dict[str, int] = {}
    if os.path.isfile(path):
        pieces = read_lines(path)
        vocabulary = {piece: index for index, piece in enumerate(pieces)}
        if len(vocabulary) != len(pieces):
            raise DwtError(f"{path}: expected every piece once, got some twice; fetch it again")
        if tokenizer.fast and tokenizer.vocabulary(path) != vocabulary:
            raise tokenizer.two_ways(path, "the same pieces")
    else:
        where = os.path.join(folder, "tokenizer.json")
        if tokenizer.model(where).get("type") != "WordPiece":
            raise DwtError(
                f"{where}: expected word pieces, got {tokenizer.model(where).get('type')!r}"
            )
        vocabulary = tokenizer.vocabulary(where)
    by_index = _by_index(vocabulary, size, where, ())
    order = _moved(by_index, BERT_MARKS[:4], BERT_MARKS[4], where)
    symbols = [*SPECIAL, *(by_index[row] for row in order[4:-1]), MASK]
    while by_index[-1] is None:  # rows that only fill up the embeddings
        by_index.pop()
    index_of = {row: index for index, row in enumerate(order)}
    lines = [f"unused{index_of[i]}" if p is None else p for i, p in enumerate(by_index)]
    files = {
        "dict.txt": _dict_txt(symbols, {}),
        "vocab.txt": "".join(f"{line}\n" for line in lines),
    }
    return Vocabulary(order, _encoded(files), _case_note(cased))


def _case_note(cased: bool) -> list[str]:
    if not cased:
        return []
    return ["the word pieces keep case: give --bpe-cased wherever --bpe bert is given"]


def _sentencepiece(folder: str, tokenizer: Tokenizer, size: int, camembert: bool) -> Vocabulary:
    first = CAMEMBERT_FIRST if camembert else SPECIAL
    tokenizer.check_added((*SPECIAL, MASK, *(CAMEMBERT_FIRST if camembert else ())))
    where = os.path.join(folder, SENTENCEPIECE)
    if os.path.isfile(where):
        data = Path(where).read_bytes()
        pieces = parse(data, where)
        if tokenizer.fast:
            check_unigram(tokenizer, pieces, len(first), where)
    else:
        if not tokenizer.fast:
            raise DwtError(f"{where}: expected it or a tokenizer.json, found neither; fetch it")
        where = os.path.join(folder, "tokenizer.json")
        listed, table = check_unigram(tokenizer, None, len(first), where)
        special = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
        pieces = Pieces([*special, *listed], table)
        data = serialize(pieces)
    names = [*first, *(piece for piece, _ in pieces.scored[3:]), MASK]
    vocabulary = {name: index for index, name in enumerate(names)}
    if len(vocabulary) != len(names):
        raise DwtError(f"{where}: expected every piece once, got some twice; fetch it again")
    by_index = _by_index(vocabulary, size, where, first)
    order = _moved(by_index, SPECIAL, MASK, where)
    files = _encoded({"dict.txt": _dict_txt([by_index[row] for row in order], {})})
    return Vocabulary(order, {**files, SENTENCEPIECE: data})


def _by_index(
    vocabulary: Mapping[Any, Any], size: int, where: str, first: Sequence[str]
) -> list[str | None]:
    """Tokens by index, None where none is (rows of the embeddings that no token uses)."""
    tokens: list[str | None] = [None] * size
    for token, index in vocabulary.items():
        if type(index) is not int or not 0 <= index < size:
            raise DwtError(
                f"{where}: {token!r}: expected an index below {size}, the rows of the embeddings, "
                f"got {index!r}; weights and vocabulary belong to different models"
            )
        tokens[index] = str(token)
    for index, special in enumerate(first):
        if size <= index or tokens[index] != special:
            raise DwtError(
                f"{where}: expected {special} at index {index} as in every model of its kind, got "
                f"{tokens[index] if index < size else None!r}"
            )
    return tokens


def _moved(
    by_index: Sequence[str | None], special: Sequence[str], mask: str, where: str
) -> list[int]:
    """The rows in fairseq's order: special ones first, the mask last, the others as they are."""
    index_of = {token: index for index, token in enumerate(by_index)}
    lacking = [token for token in (*special, mask) if token not in index_of]
    if lacking:
        raise DwtError(
            f"{where}: expected {lacking[0]} among its tokens, found none; take the model's "
            "own file"
        )
    ends = [*(index_of[token] for token in special), index_of[mask]]
    rest = [index for index in range(len(by_index)) if index not in set(ends)]
    return [*ends[:-1], *rest, ends[-1]]


def _mask_last(tokens: list[str | None]) -> tuple[list[int], list[str | None]]:
    """The rows with <mask> last, where fairseq's tasks append it; unmoved where there is none."""
    order = list(range(len(tokens)))
    if MASK in tokens and len(set(tokens[: len(SPECIAL)]) & {MASK}) == 0:
        order.append(order.pop(tokens.index(MASK)))
    return order, [tokens[row] for row in order]


def _dict_txt(by_index: Sequence[str | None], encoder: Mapping[str, int]) -> str:
    """fairseq's dictionary: what its encoder prints for each index from 4 on."""
    lines: list[str] = []
    rest = list(enumerate(by_index))[len(SPECIAL) :]
    if rest and rest[-1][1] == MASK:
        rest.pop()  # fairseq's tasks append it
    for index, token in rest:
        symbol = f"unused{index}" if token is None else str(encoder.get(token, token))
        if re.search(r"\s", symbol):
            symbol = f"unused{index}"  # no encoder of fairseq's can print it
        lines.append(f"{symbol} 1\n")
    known = {f"{symbol} 1\n" for symbol in (*SPECIAL, MASK)}
    if len({*lines, *known}) != len(lines) + len(known):
        raise DwtError(
            "the vocabulary: expected every token once and none of fairseq's own among them, got "
            "others; fairseq's dictionary cannot list them: fetch the folder again"
        )
    return "".join(lines)


def _with_marks(by_index: Sequence[str | None]) -> list[str]:
    """Pieces with BERT's marks; the order does not matter to fairseq, which goes by the piece."""
    pieces = [t for t in by_index[len(SPECIAL) :] if t is not None and t != MASK]
    return [*(mark for mark in BERT_MARKS if mark not in pieces), *pieces]


def _encoded(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode("utf-8") for name, text in files.items()}
