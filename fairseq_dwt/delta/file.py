"""A delta's file: safetensors, of which nothing is unpickled.

``<matrix>.weight`` (out_features, k), the columns in ascending order, or (entries,) of a mask;
``<matrix>.bias`` (out_features,) or (entries,); ``head.*``; the ticket as JSON, or
``<matrix>.mask``; a SHA-256 of it all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..errors import DwtError
from ..files import check_checksum, checksum, read_safetensors, write_safetensors
from ..model.names import ENCODER, named_matrices
from ..ticket import AnyTicket
from ..ticket.load import unpacked
from .delta import DTYPES, SETTINGS, SHORTEN, Delta, TicketValues, check_settings
from .head import HEAD, check_head

FORMAT = "fairseq_dwt.delta"
VERSION = 1

D = TypeVar("D")


def save(delta: Delta, path: str) -> None:
    """Write the delta, whole or not at all."""
    tensors = {f"head.{name}": tensor for name, tensor in delta.head.items()}
    header = {
        "labels": delta.labels,
        "settings": dict(delta.settings),
        "dtype": str(delta.dtype)[len("torch.") :],
        "saved_dtype": str(delta.saved_dtype)[len("torch.") :],
        "task": delta.task,
        "made_by": delta.made_by,
        "sentences": delta.sentences,
    }
    write(path, (FORMAT, VERSION), header, delta, tensors)


def write(
    path: str,
    kind: tuple[str, int],
    header: Mapping[str, Any],
    trained: TicketValues,
    more: Mapping[str, Tensor],
) -> None:
    """Write a file of trained values, whole or not at all.

    Args:
        path: of the file.
        kind: the format and its version.
        header: kept as JSON.
        trained: the ticket and its values.
        more: other tensors, by their names in the file.
    """
    metadata = {"format": kind[0], "version": str(kind[1]), "delta": json.dumps(header)}
    about_ticket, of_ticket = trained.ticket.packed()
    metadata.update(about_ticket)
    values = {_file_name(name): tensor for name, tensor in trained.values.items()}
    tensors = {**values, **more, **of_ticket}
    metadata["sha256"] = checksum(metadata, tensors)
    # cloned: safetensors refuses tensors that share their memory
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_safetensors(path, tensors, metadata)


def load(path: str) -> Delta:
    """Read a delta file.

    Raises:
        DwtError: no such file, not a delta, a newer format, truncated, altered, inconsistent.
    """
    return read(path, (FORMAT, VERSION), _read)


def read(
    path: str,
    kind: tuple[str, int],
    read_content: Callable[[Mapping[str, str], dict[str, Tensor], str], D],
) -> D:
    """Read a file of trained values.

    Args:
        path: of the file.
        kind: the format and its version.
        read_content: of its metadata, its tensors and the path.

    Raises:
        DwtError: as :func:`load`.
    """
    metadata, tensors = read_safetensors(path, *kind)
    told = metadata.pop("sha256", "none")
    check_checksum(path, told, checksum(metadata, tensors), "fetch or export it again")
    try:
        return read_content(metadata, tensors, path)
    except DwtError:
        raise
    except Exception as error:  # whatever JSON of another shape leads to
        raise DwtError(
            f"{path}: expected a delta, got a file with other content "
            f"({type(error).__name__}: {error}); export it again"
        ) from None


def take_values(
    metadata: Mapping[str, str], tensors: dict[str, Tensor], path: str
) -> tuple[AnyTicket, dict[str, Tensor]]:
    """The ticket, and its values, which ``tensors`` loses (DwtError if they do not fit)."""
    ticket = unpacked(metadata, tensors, path)
    if ticket.origin.base is None:
        raise DwtError(f"{path}: does not say which pre-trained model it belongs to")
    values = {}
    for name, part in ticket.parts(named_matrices(ticket.shapes)).items():
        tensor = tensors.pop(_file_name(name), None)
        if tensor is None or tuple(tensor.shape) != part.values_shape:
            found = "none" if tensor is None else f"shape {tuple(tensor.shape)}"
            raise DwtError(
                f"{path}: {_file_name(name)}: expected shape {part.values_shape} as in its "
                f"ticket, got {found}; export it again"
            )
        values[name] = tensor
    return ticket, values


def check_all(tensors: Mapping[str, Tensor], dtype: torch.dtype, path: str) -> None:
    """Refuse a tensor of another dtype (DwtError)."""
    for name, tensor in tensors.items():
        if tensor.dtype != dtype:
            raise DwtError(f"{path}: {name}: expected {dtype}, got {tensor.dtype}")


def _read(metadata: Mapping[str, str], tensors: dict[str, Tensor], path: str) -> Delta:
    header = json.loads(metadata["delta"])
    ticket, values = take_values(metadata, tensors, path)
    dtype, saved_dtype = DTYPES[header["dtype"]], DTYPES[header["saved_dtype"]]
    head = {name: tensors.pop(f"head.{name}") for name in HEAD}
    if tensors:
        raise DwtError(f"{path}: {sorted(tensors)[0]}: a tensor that its ticket does not have")
    check_all({**values, **head}, dtype, path)
    settings = {name: header["settings"][name] for name in SETTINGS}
    if SHORTEN in header["settings"]:
        settings[SHORTEN] = header["settings"][SHORTEN]
    delta = Delta(
        ticket,
        values,
        head,
        tuple(map(str, header["labels"])),
        settings,
        dtype,
        saved_dtype,
        header.get("task"),
        str(header["made_by"]),
        header.get("sentences"),
    )
    check_head(delta.head, delta.labels, path)
    check_settings(delta, path)
    return delta


def _file_name(name: str) -> str:
    return name.removeprefix(ENCODER)
