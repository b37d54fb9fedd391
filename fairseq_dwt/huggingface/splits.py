"""How a folder's tokenizer files split text, held against how fairseq's encoders split it.

transformers goes by tokenizer.json where there is one and by the older files else; a folder may
hold both, and settings beside them. What would split otherwise than fairseq's encoder is refused.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DwtError
from .jsons import read_json
from .pieces import Pieces


@dataclass(frozen=True)
class Tokenizer:
    """The JSON files about tokens in a folder.

    Attributes:
        folder: its path.
        fast: tokenizer.json; empty without one.
        settings: tokenizer_config.json; empty without one.
        special: special_tokens_map.json; empty without one.
        added: added_tokens.json; empty without one.
    """

    folder: str
    fast: Mapping[str, Any]
    settings: Mapping[str, Any]
    special: Mapping[str, Any]
    added: Mapping[str, Any]

    @classmethod
    def read(cls, folder: str) -> Tokenizer:
        """Read them (DwtError: one is no JSON object)."""
        names = ("tokenizer.json", "tokenizer_config.json")
        others = ("special_tokens_map.json", "added_tokens.json")
        return cls(folder, *(read_json(folder, name, optional=True) for name in names + others))

    @property
    def fast_path(self) -> str:
        return os.path.join(self.folder, "tokenizer.json")

    @property
    def settings_path(self) -> str:
        return os.path.join(self.folder, "tokenizer_config.json")

    def setting(self, name: str) -> Any:
        """Of tokenizer_config.json; None where it is silent."""
        return self.settings.get(name)

    def model(self, where: str) -> Mapping[str, Any]:
        """tokenizer.json's model (DwtError: it has none)."""
        if not self.fast:
            read_json(self.folder, "tokenizer.json")  # says that it is missing
        model = self.fast.get("model")
        if not isinstance(model, dict) or not isinstance(model.get("vocab"), (dict, list)):
            raise DwtError(f"{where}: expected a model with a vocabulary; fetch the file again")
        return model

    def vocabulary(self, where: str) -> dict[str, int]:
        """tokenizer.json's tokens with their indices, added ones among them."""
        vocab = self.model(where)["vocab"]
        if not isinstance(vocab, dict):
            raise DwtError(f"{where}: expected an object of tokens; fetch the file again")
        found = dict(vocab)
        for token in self._added_objects():
            if "id" in token:
                found.setdefault(token["content"], token["id"])
        return found

    def _added_objects(self) -> list[Mapping[str, Any]]:
        added = self.fast.get("added_tokens") or []
        return [t for t in added if isinstance(t, dict) and isinstance(t.get("content"), str)]

    def two_ways(self, path: str, what: str) -> DwtError:
        """The sentence about two files that split text in two ways."""
        return DwtError(
            f"{path}: expected {what} as in tokenizer.json beside it, by which transformers goes, "
            "got others; take both from the same model, or remove the one that is not its own"
        )

    def check_added(self, known: Sequence[str]) -> None:
        """Refuse tokens beyond ``known``: they are cut out of a text before it is split."""
        found: dict[str, str] = {}
        for token in self._added_objects():
            found.setdefault(token["content"], self.fast_path)
        for name in self.added:
            found.setdefault(str(name), os.path.join(self.folder, "added_tokens.json"))
        for token in (self.setting("added_tokens_decoder") or {}).values():
            found.setdefault(_content(token), self.settings_path)
        for source, path in (
            (self.settings, self.settings_path),
            (self.special, os.path.join(self.folder, "special_tokens_map.json")),
        ):
            for key in ("additional_special_tokens", "extra_special_tokens"):
                more = source.get(key) or []
                for token in more.values() if isinstance(more, dict) else more:
                    found.setdefault(_content(token), path)
        strange = [token for token in found if token not in known]
        if strange:
            raise DwtError(
                f"{found[strange[0]]}: expected no added tokens, got {strange[0]!r}"
                f"{f' and {len(strange) - 1} more' if len(strange) > 1 else ''}; fairseq's encoder "
                "would split them: remove them, and their rows of the embeddings, or use a model "
                "without"
            )

    def check_special(self, expected: Mapping[str, str]) -> None:
        """Refuse other special tokens than the model's kind has."""
        for source, path in (
            (self.settings, self.settings_path),
            (self.special, os.path.join(self.folder, "special_tokens_map.json")),
        ):
            for role, token in expected.items():
                got = source.get(role)
                # a vocabulary of word pieces that has no <unk> of its own prints [UNK]
                if got is not None and _content(got) not in (
                    token,
                    "[UNK]" if role[0] == "u" else token,
                ):
                    raise DwtError(
                        f"{path}: {role}: expected {token}, got {_content(got)!r}; fairseq puts "
                        "its own there"
                    )


def _content(token: Any) -> str:
    return str(token.get("content")) if isinstance(token, dict) else str(token)


def _steps(step: Any) -> list[Mapping[str, Any]]:
    """The parts of a normalizer or pre-tokenizer, one after another."""
    if not step:
        return []
    inner = step.get("normalizers") or step.get("pretokenizers")
    if step.get("type") == "Sequence" and isinstance(inner, list):
        return [part for more in inner for part in _steps(more)]
    return [step]


def check_byte_level(tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer.json that is not GPT-2's byte-level BPE.

    Raises:
        DwtError: it has a normalizer, a space put before a sentence, or other splits.
    """
    model, splits = tokenizer.model(tokenizer.fast_path), tokenizer.fast.get("pre_tokenizer") or {}
    plain = (
        model.get("type") == "BPE"
        and splits.get("type") == "ByteLevel"
        and not splits.get("add_prefix_space")
        and splits.get("use_regex", True)
        and not any(model.get(key) for key in _BPE_EXTRAS)
        and not tokenizer.fast.get("normalizer")
    )
    if not plain:
        raise DwtError(
            f"{tokenizer.fast_path}: expected GPT-2's byte-level BPE without a normalizer or a "
            "space put before a sentence, got another; fairseq's encoder has no other"
        )


_BPE_EXTRAS = (
    "dropout",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "byte_fallback",
    "ignore_merges",
)


def check_word_pieces(tokenizer: Tokenizer, unknown: Sequence[str]) -> bool:
    """Whether word pieces keep case; refuses what fairseq's ``--bpe bert`` does not do.

    Args:
        tokenizer: the folder's.
        unknown: names that the unknown piece may have.

    Raises:
        DwtError: accents, Chinese characters or words are treated otherwise, or two files disagree.
    """
    lowers: dict[str, Any] = {}

    def refuse(path: str, what: str, expected: Any, got: Any) -> DwtError:
        return DwtError(
            f"{path}: {what}: expected {expected!r}, got {got!r}; fairseq's encoder of word pieces "
            "has no other"
        )

    found: list[tuple[str, Mapping[str, Any]]] = [(tokenizer.settings_path, tokenizer.settings)]
    if tokenizer.fast:
        path, fast = tokenizer.fast_path, tokenizer.fast
        model = tokenizer.model(path)
        normalizers = _steps(fast.get("normalizer"))
        kinds = [
            [step.get("type") for step in normalizers],
            [step.get("type") for step in _steps(fast.get("pre_tokenizer"))],
            [model.get("type"), model.get("continuing_subword_prefix", "##")],
            [model.get("max_input_chars_per_word", 100)],
        ]
        expected = [["BertNormalizer"], ["BertPreTokenizer"], ["WordPiece", "##"], [100]]
        if kinds != expected or model.get("unk_token", "[UNK]") not in unknown:
            raise refuse(path, "the steps of the tokenizer", expected, kinds)
        found.append((path, normalizers[0]))
    for path, settings in found:
        for key in ("do_lower_case", "lowercase"):
            if settings.get(key) is not None:
                lowers[path] = bool(settings[key])
    if len(set(lowers.values())) > 1:
        raise DwtError(
            f"{tokenizer.settings_path}: do_lower_case: expected {lowers[tokenizer.fast_path]} as "
            "in tokenizer.json beside it, got the other; correct the one that is not the model's"
        )
    # what transformers assumes where both are silent
    lower = next(iter(lowers.values()), True)
    for path, settings in found:
        for key, value in (
            ("strip_accents", lower),
            ("tokenize_chinese_chars", True),
            ("handle_chinese_chars", True),
            ("clean_text", True),
            ("do_basic_tokenize", True),
        ):
            if settings.get(key) not in (None, value):
                raise refuse(path, key, value, settings[key])
        if settings.get("never_split"):
            raise refuse(path, "never_split", None, settings["never_split"])
    return not lower


def check_unigram(
    tokenizer: Tokenizer, pieces: Pieces | None, first: int, where: str
) -> tuple[list[tuple[str, float]], bytes]:
    """tokenizer.json's pieces without the special ones, and its normalizer's table.

    Args:
        tokenizer: the folder's.
        pieces: of the SentencePiece model beside it; None without one.
        first: how many special tokens come first.
        where: the file that the pieces come from, for errors.

    Raises:
        DwtError: no unigram model as SentencePiece has it, or it differs from ``pieces``.
    """
    path, model = tokenizer.fast_path, tokenizer.model(tokenizer.fast_path)
    listed = model["vocab"]
    normalizers = _steps(tokenizer.fast.get("normalizer"))
    splits = _steps(tokenizer.fast.get("pre_tokenizer"))
    spaces = [s for s in splits if s.get("type") == "Metaspace"]
    plain = (
        model.get("type") == "Unigram"
        and isinstance(listed, list)
        and not model.get("byte_fallback")
        and all(step.get("type") in ("Precompiled", "Replace", "Strip") for step in normalizers)
        and all(s.get("type") in ("Metaspace", "WhitespaceSplit") for s in splits)
        and len(spaces) == 1
        and spaces[0].get("prepend_scheme", "always") == "always"
        and spaces[0].get("add_prefix_space", True)
        and tokenizer.setting("add_prefix_space") in (None, True)
    )
    if not plain:
        raise DwtError(
            f"{path}: expected a unigram model that puts a space before a sentence, as "
            "SentencePiece does, got another; fairseq's encoder has no other"
        )
    tables = [step["precompiled_charsmap"] for step in normalizers if step["type"] == "Precompiled"]
    table = base64.b64decode(tables[0] or "") if tables else b""
    scored = [(str(piece), float(score)) for piece, score in listed]
    rest = [entry for entry in scored[first:] if entry[0] != "<mask>"]
    if pieces is not None:
        same = len(rest) == len(pieces.scored) - 3 and all(
            ours[0] == theirs[0] and abs(ours[1] - theirs[1]) < 1e-4
            for ours, theirs in zip(rest, pieces.scored[3:])
        )
        if not same:
            raise tokenizer.two_ways(where, "the same pieces and scores")
        if table != pieces.table:
            raise tokenizer.two_ways(where, "the same normalizer")
    return rest, table
