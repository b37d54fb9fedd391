"""SentencePiece model files, read and written without the library protobuf.

A file is a ``ModelProto``: field 1 a piece each (1 text, 2 score, 3 type), field 2 the trainer's
settings (3 model type), field 3 the normalizer's (2 its table, 3 to 5 what is done with spaces).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import DwtError

_UNIGRAM = 1
_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3


@dataclass(frozen=True)
class Pieces:
    """A unigram model.

    Attributes:
        scored: pieces with their scores, by index; the first three are <unk>, <s>, </s>.
        table: the normalizer's, as the file holds it.
    """

    scored: list[tuple[str, float]]
    table: bytes


def parse(data: bytes, where: str) -> Pieces:
    """Read a model file.

    Args:
        data: its content.
        where: its path, for errors.

    Raises:
        DwtError: no SentencePiece model, not of the unigram kind, spaces treated otherwise than
            XLM-R treats them, or special pieces at other indices.
    """
    try:
        fields = list(_fields(data))
        scored, settings, table = [], {}, b""
        for number, value in fields:
            if number == 1:
                piece = dict(_fields(_bytes(value)))
                (score,) = struct.unpack("<f", _bytes(piece.get(2, bytes(4))))
                scored.append((_bytes(piece[1]).decode("utf-8"), score))
            elif number == 2:
                settings["model_type"] = dict(_fields(_bytes(value))).get(3, _UNIGRAM)
            elif number == 3:
                normalizer = dict(_fields(_bytes(value)))
                table = _bytes(normalizer.get(2, b""))
                settings.update({f"spaces {n}": normalizer.get(n, 1) for n in (3, 4, 5)})
    except (IndexError, KeyError, ValueError, TypeError, struct.error) as error:
        raise DwtError(
            f"{where}: expected a SentencePiece model, cannot read it ({error}); fetch it again"
        ) from None
    odd = [name for name, value in settings.items() if value != 1]
    if odd:
        raise DwtError(
            f"{where}: {odd[0]}: expected a unigram model with a space before a sentence, got "
            f"{settings[odd[0]]!r}; XLM-R and CamemBERT have no other"
        )
    if [piece for piece, _ in scored[:3]] != ["<unk>", "<s>", "</s>"]:
        raise DwtError(
            f"{where}: expected the pieces <unk>, <s>, </s> first, got "
            f"{[piece for piece, _ in scored[:3]]}; take the model's own file"
        )
    return Pieces(scored, table)


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a number where text belongs")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer's message: number and value (bytes, or a whole number)."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"field of kind {kind}")
        if at + length > len(data):
            raise ValueError("truncated")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
        if shift > 63:
            raise ValueError("a number without an end")


def serialize(pieces: Pieces) -> bytes:
    """The model file of ``pieces``, which :func:`parse` and SentencePiece read."""
    types: dict[int, int] = {0: _UNKNOWN, 1: _CONTROL, 2: _CONTROL}
    parts = []
    for index, (piece, score) in enumerate(pieces.scored):
        message = _field(1, piece.encode("utf-8")) + b"\x15" + struct.pack("<f", score)
        message += b"\x18" + _number(types.get(index, _NORMAL))
        parts.append(_field(1, message))
    parts.append(_field(2, b"\x18" + _number(_UNIGRAM)))
    parts.append(_field(3, _field(2, pieces.table) if pieces.table else b""))
    return b"".join(parts)


def _field(number: int, content: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
