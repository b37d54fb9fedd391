"""A ticket's file: JSON, one matrix a line, with a SHA-256 of its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..errors import DwtError
from ..files import check_checksum
from ..model.names import is_matrix
from .columns import Columns
from .origin import Origin, check_origin

if TYPE_CHECKING:
    from .ticket import Ticket

FORMAT = "fairseq_dwt.ticket"
VERSION = 1


def to_text(ticket: Ticket) -> str:
    """The ticket as JSON text."""
    head = {"format": FORMAT, "version": VERSION}
    head.update({k: v for k, v in asdict(ticket.origin).items() if v is not None})
    if not ticket.ranked:
        head["ranked"] = False
    if ticket.unknown:
        head["unknown"] = sorted(ticket.unknown)
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    rows = []
    for name, e in ticket.matrices.items():
        row: dict[str, Any] = {"name": name, "shape": e.shape, "columns": e.columns}
        if e.counts is not None:
            row["counts"] = e.counts
        rows.append("    " + json.dumps(row))
    body = ",\n".join(rows)

    def text(lines: list[str]) -> str:
        return "{\n" + "\n".join(lines) + '\n  "matrices": [\n' + body + "\n  ]\n}\n"

    return text([*lines, f'  "sha256": "{_checksum(json.loads(text(lines)))}",'])


def from_text(text: str, where: str) -> tuple[dict[str, Columns], Origin, bool, frozenset[str]]:
    """What JSON text holds: a ticket's matrices, origin, whether it is ranked, unknown matrices.

    Raises:
        DwtError: not a ticket, a newer format, or altered content; it begins with ``where``.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DwtError(
            f"{where}: expected a ticket in JSON, got text that breaks off or is no JSON "
            f"({error}); write it again with fairseq-dwt extract"
        ) from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DwtError(f'{where}: expected "format": "{FORMAT}", got another kind of file')
    if data.get("version") != VERSION:
        raise DwtError(
            f"{where}: expected ticket version {VERSION}, got {data.get('version')!r}; "
            "update fairseq_dwt to read it"
        )
    told = data.pop("sha256", None)
    remedy = 'write it again, or remove "sha256" where the change is meant'
    check_checksum(where, told, _checksum(data), remedy)
    origin = {k: data[k] for k in Origin.__dataclass_fields__ if data.get(k) is not None}
    check_origin(where, origin)
    matrices: dict[str, Columns] = {}
    rows = data.get("matrices")
    if not isinstance(rows, list):
        raise DwtError(f'{where}: expected a list "matrices", got {type(rows).__name__}')
    for row in rows:
        name, columns = _read_row(where, row)
        if name in matrices:
            raise DwtError(f"{where}: matrix {name} appears twice; keep one")
        if not is_matrix(name):
            raise DwtError(
                f"{where}: expected matrices named such as layers.0.fc1, got {name!r:.80}; give "
                "each its module's name in the pre-trained file"
            )
        matrices[name] = columns
    ranked, unknown = data.get("ranked", True), data.get("unknown", [])
    if not isinstance(ranked, bool):
        raise DwtError(f'{where}: expected "ranked" as true or false, got {ranked!r:.80}')
    if not isinstance(unknown, list) or not all(isinstance(n, str) for n in unknown):
        raise DwtError(f'{where}: expected "unknown" as names, got {unknown!r:.80}')
    return matrices, Origin(**origin), ranked, frozenset(unknown)


def _checksum(data: Mapping[str, Any]) -> str:
    """SHA-256 of a ticket's JSON, whatever its layout and the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _read_row(where: str, row: Any) -> tuple[str, Columns]:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        raise DwtError(
            f'{where}: expected matrices as {{"name", "shape", "columns"}}, got {row!r:.80}'
        )
    name = row["name"]
    lists: dict[str, Any] = {key: row.get(key) for key in ("shape", "columns", "counts")}
    for key, value in lists.items():
        if key == "counts" and value is None:
            continue
        if not isinstance(value, list) or not all(type(v) is int for v in value):
            raise DwtError(
                f'{where}: matrix {name}: expected "{key}" as integers, got {value!r:.80}'
            )
    if len(lists["shape"]) != 2:
        raise DwtError(f"{where}: matrix {name}: expected shape [out, in], got {lists['shape']}")
    counts = lists["counts"]
    return name, Columns(
        tuple(lists["shape"]), tuple(lists["columns"]), None if counts is None else tuple(counts)
    )
