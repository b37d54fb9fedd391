"""Writing files whole or not at all; reading ours, of which nothing is unpickled."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import DwtError


@contextlib.contextmanager
def replacing(
    path: str, of_writing: tuple[type[BaseException], ...] = (OSError, RuntimeError)
) -> Iterator[str]:
    """Yield a temporary path beside ``path``; on success rename it to ``path``, else remove it.

    A reader sees the old file or the new one, never a half; a kill leaves at most a ``*.tmp``. The
    file keeps its permissions, and a link stays one. What is no file, as ``/dev/stdout`` or a pipe,
    is yielded itself.

    Args:
        path: of the file.
        of_writing: errors in the block that mean that the file cannot be written. torch and
            safetensors have some of their own; a block that also computes has not.

    Raises:
        DwtError: it cannot be written, as on a full disk or into a folder that takes no files; the
            old file stays.
    """
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        yield path
        return
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    try:
        os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f"{name}.", suffix=".tmp", dir=folder)
    except OSError as error:
        raise DwtError(
            f"{path}: expected a folder that can be written, got {folder} ({error.strerror}); "
            "write elsewhere"
        ) from error
    os.close(handle)
    try:
        yield temporary
        # mkstemp makes files that only their owner reads; a ticket is to be shared.
        umask = os.umask(0)
        os.umask(umask)
        there = os.path.isfile(path)
        os.chmod(temporary, os.stat(path).st_mode & 0o777 if there else 0o666 & ~umask)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, of_writing) or type(error).__name__ == "SafetensorError":
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            raise DwtError(
                f"{path}: cannot write it ({reason}); what was there before is as it was: make "
                "room on the disk, or write elsewhere"
            ) from error
        raise


@contextlib.contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside ``target`` that takes its place if the block ends well.

    A ``target`` that is there and empty is filled: somebody may stand in it.

    Raises:
        DwtError: ``target`` is a file.
    """
    target = Path(os.path.realpath(target))  # a link stays one
    if target.is_file():
        raise DwtError(
            f"{target}: expected a folder to write, got a file; remove it, or write elsewhere"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    earlier = target.with_name(f".{target.name}.earlier-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process with the same number
    partial.mkdir()
    try:
        yield partial
        if target.exists():
            if not any(target.iterdir()):
                for path in partial.iterdir():
                    os.rename(path, target / path.name)
                return
            os.rename(target, earlier)
        try:
            os.rename(partial, target)
        except BaseException:
            if earlier.exists():
                os.rename(earlier, target)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(earlier, ignore_errors=True)


def read_safetensors(
    path: str, kind: str | None = None, version: int | None = None
) -> tuple[dict[str, str], dict[str, Any]]:
    """Read a safetensors file.

    Args:
        path: of the file.
        kind: the "format" that its metadata must name, for a file of ours; None takes any.
        version: the version of that format that this code reads.

    Returns:
        its metadata, and its tensors by name.

    Raises:
        DwtError: no such file, not of this kind, a newer version, truncated.
    """
    from safetensors import SafetensorError, safe_open

    what = "safetensors" if kind is None else kind
    if not os.path.isfile(path):
        raise DwtError(f"{path}: expected a file of {what}, found none; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if kind is not None and metadata.get("format") != kind:
                raise DwtError(f'{path}: expected "format" {kind}, got another kind of file')
            if version is not None and metadata.get("version") != str(version):
                raise DwtError(
                    f"{path}: expected version {version} of {kind}, got "
                    f"{metadata.get('version')!r}; update fairseq_dwt to read it"
                )
            return metadata, {name: file.get_tensor(name) for name in file.keys()}
    except DwtError:
        raise
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise DwtError(
            f"{path}: expected a file of {what}, cannot read it ({error}); it may be truncated: "
            "fetch or write it again"
        ) from None


def write_safetensors(path: str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors that share no memory, whole or not at all; into a pipe too (DwtError)."""
    from safetensors.torch import save

    content = save(tensors, metadata)
    # not save_file, which puts a new file in the place of a pipe
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content)


def checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of what a safetensors file holds: its metadata, and its tensors by name."""
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits; read a block at a time."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def check_checksum(where: str, told: str | None, found: str, remedy: str) -> None:
    """Compare the checksum that a file of ours tells of its content; None is told by older files.

    Raises:
        DwtError: they differ.
    """
    if told not in (None, found):
        raise DwtError(
            f"{where}: expected the content that its SHA-256 was made of, got another; the file "
            f"was altered: {remedy}"
        )
