"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Iterator

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """Yield a temporary path beside ``path``; on success rename it to ``path``, else remove it.

    A reader sees the old file or the new one, never a half; a kill leaves at most a ``*.tmp``.
    """
    path = os.path.abspath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    handle, temporary = tempfile.mkstemp(
        prefix=os.path.basename(path) + ".", suffix=".tmp", dir=os.path.dirname(path)
    )
    os.close(handle)
    try:
        yield temporary
        # mkstemp makes files that only their owner reads; a ticket is to be shared.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
