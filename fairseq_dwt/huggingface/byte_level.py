"""GPT-2's byte-level BPE: its merges, and the numbers that follow from them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import DwtError


def _byte_symbols() -> list[str]:
    """The characters that stand for the 256 bytes in GPT-2's BPE, in the order of its numbers.

    Printable bytes stand for themselves, the others for the characters from 256 on.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def gpt2_ids(merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """GPT-2's encoder.json of these merges: bytes, one token a merge, the end of text."""
    tokens = [*_byte_symbols(), *(a + b for a, b in merges), "<|endoftext|>"]
    return {token: index for index, token in enumerate(tokens)}


def read_lines(path: str) -> list[str]:
    """A text file's lines (DwtError: no UTF-8)."""
    # not splitlines: word pieces may be U+2028 and the like
    try:
        lines = Path(path).read_bytes().decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DwtError(f"{path}: expected UTF-8 text, cannot read it ({error})") from None
    if not lines[-1]:
        lines.pop()
    return [line.rstrip("\r") for line in lines]


def read_merges(folder: str) -> list[tuple[str, str]]:
    """Of merges.txt (DwtError: none, or no pairs in it)."""
    path = os.path.join(folder, "merges.txt")
    if not os.path.isfile(path):
        raise DwtError(f"{path}: expected it beside vocab.json, found none; fetch it")
    lines = read_lines(path)
    return [pair_of(line, path) for line in lines if line and not line.startswith("#version")]


def pair_of(merge: Any, where: str) -> tuple[str, str]:
    """The two symbols of a merge (DwtError: no two)."""
    pair = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(p, str) for p in pair):
        raise DwtError(f"{where}: expected two symbols to merge, got {merge!r:.60}; fetch it again")
    return pair[0], pair[1]
