"""Sentence → tokens, as fairseq's own encoders give them, in batches."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DwtError

if TYPE_CHECKING:
    from fairseq.data import Dictionary


@dataclass(frozen=True)
class Encoder:
    """A library's tokenizer, as fairseq sees it.

    ids: sentences → the library's ids of their tokens, a list for each sentence.
    pieces: id → the token as ``dict.txt`` lists it; empty where an id stands for any text, which
        SentencePiece's unknown one does.
    surface: sentences → tokens as `__call__` gives them, where pieces cannot tell.
    """

    ids: Callable[[Sequence[str]], Sequence[Sequence[int]]]
    pieces: Sequence[str]
    surface: Callable[[Sequence[str]], list[str]] | None = None

    def __call__(self, sentences: Sequence[str]) -> list[str]:
        """Sentences → their tokens separated by spaces, what fairseq's ``bpe.encode`` returns.

        An empty sentence gives an empty string.
        """
        if self.surface:
            return self.surface(sentences)
        return [" ".join(map(self.pieces.__getitem__, ids)) for ids in self.ids(sentences)]

    def indexer(self, dictionary: Dictionary) -> Callable[[Sequence[str]], Items]:
        """Sentences → what ``fairseq-preprocess`` makes of their tokens with this dictionary."""
        unknown, end = dictionary.unk(), dictionary.eos()

        def index(line: str) -> list[int]:
            # split() and not split(" "): a piece may hold odd white space, at which
            # fairseq-preprocess cuts it
            return [dictionary.indices.get(token, unknown) for token in line.split()]

        # the index of a piece that is one token whatever stands beside it, else -1
        table = np.array(
            [index(piece)[0] if piece.split() == [piece] else -1 for piece in self.pieces],
            dtype=np.int64,
        )

        def items(sentences: Sequence[str]) -> Items:
            rows = self.ids(sentences)
            lengths = np.fromiter(map(len, rows), np.int64, len(rows))
            ids = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
            indices, ends = table[ids], lengths.cumsum()
            odd = np.unique(np.searchsorted(ends, np.flatnonzero(indices < 0), side="right"))
            if len(odd):
                parts = np.split(indices, ends[:-1])
                for row, line in zip(odd, self([sentences[row] for row in odd])):
                    parts[row] = np.array(index(line), dtype=np.int64)
                    lengths[row] = len(parts[row])
                indices, ends = np.concatenate(parts), lengths.cumsum()
            return Items(np.insert(indices, ends, end), lengths + 1)

        return items


@dataclass(frozen=True)
class Items:
    """Sentences as a fairseq data set holds them.

    indices: int64, (tokens,): of all sentences in turn, each closed by ``</s>``.
    lengths: int64, (sentences,).
    """

    indices: np.ndarray
    lengths: np.ndarray


#: Tokens that no merge makes: ``<|endoftext|>``.
_SPECIAL = re.compile(r"<.*>|\[.*\]|madeupword\d+")


def add_encoder_options(parser: argparse.ArgumentParser) -> None:
    """The options that name a pre-trained model's tokens."""
    parser.add_argument("--bpe", choices=("gpt2", "sentencepiece", "bert"), default="gpt2")
    parser.add_argument("--bpe-dir", help="gpt2: folder with encoder.json, vocab.bpe, dict.txt")
    parser.add_argument("--sentencepiece-model", help="sentencepiece: the .model file")
    parser.add_argument("--vocab-file", help="bert: vocab.txt")
    parser.add_argument("--bpe-cased", action="store_true", help="bert: keep case and accents")
    parser.add_argument("--dict", help="the pre-trained model's dict.txt (gpt2: in --bpe-dir)")


def make_encoder(args: argparse.Namespace, workers: int = 1) -> tuple[Encoder, str]:
    """The encoder that the options ask for, and the path of its dictionary.

    Raises:
        DwtError: an option is missing, or names a file that is not what it should be.
    """
    if args.bpe == "gpt2":
        folder = Path(_option(args, "bpe_dir"))
        encoder = gpt2_encoder(folder / "encoder.json", folder / "vocab.bpe")
        return encoder, args.dict or str(folder / "dict.txt")
    if args.bpe == "bert":
        return bert_encoder(_option(args, "vocab_file"), args.bpe_cased), _option(args, "dict")
    model = _option(args, "sentencepiece_model")
    return sentencepiece_encoder(model, workers), _option(args, "dict")


def _option(args: argparse.Namespace, name: str) -> str:
    value = getattr(args, name)
    if not value:
        raise DwtError(f"--bpe {args.bpe} needs --{name.replace('_', '-')}, got none; add it")
    return str(value)


def gpt2_encoder(encoder_json: str | Path, vocab_bpe: str | Path) -> Encoder:
    """GPT-2's byte-level BPE (fairseq ``--bpe gpt2``); tokens are ids in decimal.

    Raises:
        DwtError: a file is missing or is not what its name says, or `tokenizers` is missing.
    """
    encoder_json, vocab_bpe = Path(encoder_json), Path(vocab_bpe)
    vocabulary = _read_encoder_json(encoder_json)
    merges = _read_merges(vocab_bpe)
    try:
        from tokenizers import ByteLevelBPETokenizer
        from tokenizers.pre_tokenizers import ByteLevel
    except ImportError as error:
        raise _missing_library("tokenizers", "GPT-2 BPE") from error
    lacking = sorted(set(ByteLevel.alphabet()) - set(vocabulary))
    if lacking:
        # tokenizers would drop such bytes silently.
        raise DwtError(
            f"{encoder_json}: expected an entry for each of the 256 byte symbols, "
            f"{len(lacking)} are missing (the first is {lacking[0]!r}); take the file that "
            "belongs to the pre-trained model"
        )
    try:
        tokenizer = ByteLevelBPETokenizer(vocabulary, merges, add_prefix_space=False)
    except Exception as error:  # the library raises no narrower class
        raise DwtError(
            f"{vocab_bpe} does not fit {encoder_json}: {error}; take both files from the same model"
        ) from error

    _check_merged(vocabulary, merges, vocab_bpe)
    return Encoder(_ids(tokenizer), [str(id) for id in range(max(vocabulary.values()) + 1)])


def _check_merged(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], path: Path
) -> None:
    """Refuse merges that do not make the vocabulary's tokens (DwtError), as of a file cut short."""
    made = {left + right for left, right in merges}
    unmade = [t for t in vocabulary if len(t) > 1 and t not in made and not _SPECIAL.fullmatch(t)]
    if unmade:
        raise DwtError(
            f"{path}: expected merges that make each token of encoder.json, {len(unmade):,} are "
            f"made by none (the first is {unmade[0]!r}); the file is cut short, or another "
            "model's: fetch it again"
        )


def bert_encoder(vocab_file: str | Path, cased: bool = False) -> Encoder:
    """BERT's word pieces (fairseq ``--bpe bert``); tokens are pieces, ``##`` marks continuations.

    Raises:
        DwtError: the file is missing or no word-piece vocabulary, or `tokenizers` is missing.
    """
    vocab_file = Path(vocab_file)
    # Not splitlines: some vocabularies hold pieces such as U+2028.
    pieces = _read_text(vocab_file).split("\n")
    if pieces and not pieces[-1]:
        pieces.pop()
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    lacking = [mark for mark in ("[UNK]", "[CLS]", "[SEP]") if mark not in vocabulary]
    if lacking:
        raise DwtError(
            f"{vocab_file}: expected a BERT vocab.txt with one word piece a line, {lacking[0]} "
            f"among them, got {len(pieces)} lines without it; take the model's own file"
        )
    try:
        from tokenizers import BertWordPieceTokenizer
    except ImportError as error:
        raise _missing_library("tokenizers", "BERT word pieces") from error
    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=not cased)

    return Encoder(_ids(tokenizer), pieces)


def sentencepiece_encoder(model_file: str | Path, workers: int = 1) -> Encoder:
    """SentencePiece (fairseq ``--bpe sentencepiece``, no sampling); tokens are pieces.

    Raises:
        DwtError: the file is missing or no SentencePiece model, or the library is missing.
    """
    model_file = Path(model_file)
    if not model_file.is_file():
        raise _missing_file(model_file)
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise _missing_library("sentencepiece", "SentencePiece") from error
    try:
        processor = SentencePieceProcessor(model_file=str(model_file))
    except (RuntimeError, OSError) as error:
        raise DwtError(
            f"{model_file}: expected a SentencePiece model, the library cannot read it ({error})"
        ) from error

    def ids(sentences: Sequence[str]) -> list[list[int]]:
        return processor.encode(list(sentences), out_type=int, num_threads=workers)

    def surface(sentences: Sequence[str]) -> list[str]:
        pieces = processor.encode(list(sentences), out_type=str, num_threads=workers)
        return [" ".join(sentence) for sentence in pieces]

    pieces = processor.id_to_piece(list(range(processor.get_piece_size())))
    pieces[processor.unk_id()] = ""
    return Encoder(ids, pieces, surface)


def _ids(tokenizer: Any) -> Callable[[Sequence[str]], list[list[int]]]:
    """Of a tokenizer of the library `tokenizers`."""
    # newer ones encode without offsets, which we do not need
    name = "encode_batch_fast" if hasattr(tokenizer._tokenizer, "encode_batch_fast") else None
    encode = getattr(tokenizer._tokenizer, name or "encode_batch")

    def ids(sentences: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in encode(list(sentences), add_special_tokens=False)]

    return ids


def _read_encoder_json(path: Path) -> dict[str, int]:
    try:
        vocabulary = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise DwtError(
            f"{path} line {error.lineno}: expected GPT-2's encoder.json, this is no JSON "
            f"({error.msg}); fetch the file again"
        ) from error
    if not isinstance(vocabulary, dict) or not all(
        type(index) is int and index >= 0 for index in vocabulary.values()
    ):
        raise DwtError(f"{path}: expected GPT-2's encoder.json, an object of token to id")
    return vocabulary


def _read_merges(path: Path) -> list[tuple[str, str]]:
    # As fairseq: the first line is a version, the text after the last line break is nothing.
    merges = []
    for number, line in enumerate(_read_text(path).split("\n")[1:-1], start=2):
        pair = line.split()
        if len(pair) != 2:
            raise DwtError(
                f"{path} line {number}: expected two symbols to merge, got {line[:60]!r}; "
                "take the vocab.bpe that belongs to the pre-trained model"
            )
        merges.append((pair[0], pair[1]))
    return merges


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise _missing_file(path)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DwtError(
            f"{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} at offset "
            f"{error.start}; fetch the file again"
        ) from error


def _missing_file(path: Path) -> DwtError:
    return DwtError(f"{path}: no such file; fetch it or correct the path")


def _missing_library(library: str, purpose: str) -> DwtError:
    return DwtError(f"{purpose} needs the library {library}: pip install {library}")
