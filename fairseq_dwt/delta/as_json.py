"""A checkpoint's settings as JSON, and back."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ..errors import DwtError

#: Of fairseq's Dictionary, as a checkpoint of a speech task keeps it.
_DICTIONARY = ("bos_word", "unk_word", "pad_word", "eos_word", "symbols", "count", "nspecial")


def to_json(value: Any, where: str) -> Any:
    """What JSON can keep; a Namespace, a tuple, fairseq's Dictionary as marked dictionaries.

    Raises:
        DwtError: it holds another object; the sentence begins with ``where``.
    """
    if isinstance(value, Namespace):
        return {"__namespace__": to_json(vars(value), where)}
    if type(value).__name__ == "Dictionary":
        return {"__dictionary__": {n: getattr(value, n) for n in _DICTIONARY}}
    if isinstance(value, tuple):
        return {"__tuple__": [to_json(v, where) for v in value]}
    if isinstance(value, list):
        return [to_json(v, where) for v in value]
    if isinstance(value, Mapping) and all(isinstance(n, str) for n in value):
        return {n: to_json(v, f"{where}.{n}") for n, v in value.items()}
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    raise DwtError(
        f"{where}: expected a setting of text or numbers, got {type(value).__name__}, which a "
        "delta cannot keep; keep the checkpoint itself"
    )


def from_json(value: Any) -> Any:
    """What :func:`to_json` was given."""
    if isinstance(value, list):
        return [from_json(v) for v in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"__tuple__"}:
        return tuple(from_json(v) for v in value["__tuple__"])
    if value.keys() == {"__namespace__"}:
        return Namespace(**from_json(value["__namespace__"]))
    if value.keys() == {"__dictionary__"}:
        told = value["__dictionary__"]
        words = {n.removesuffix("_word"): told[n] for n in _DICTIONARY[:4]}
        dictionary = import_module("fairseq.data.dictionary").Dictionary(**words)
        dictionary.symbols, dictionary.count = list(told["symbols"]), list(told["count"])
        dictionary.indices = {symbol: i for i, symbol in enumerate(told["symbols"])}
        dictionary.nspecial = told["nspecial"]
        return dictionary
    return {n: from_json(v) for n, v in value.items()}
