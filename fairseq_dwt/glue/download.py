"""GLUE and GPT-2's BPE from their official addresses, or from a mirror that keeps their paths.

    GLUE_DIR/downloads/CoLA.zip        as fetched; kept, may be deleted; put here what comes by hand
    GLUE_DIR/downloads/MNLI.zip.part   a fetch that was cut: the next one goes on from its end
    GLUE_DIR/CoLA/train.tsv, …         whole or not at all

Every file is checked against its SHA-256 (:mod:`~.official`) before anything is made of it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import DwtError
from ..files import replacing, replacing_folder, sha256
from .mrpc import rebuild_mrpc
from .official import BPE_FILES, GLUE_FILES, OFFICIAL, Download
from .suite import GlueTask

TIMEOUT = 30.0  # seconds without a byte after which a connection counts as cut
TRIES = 4  # in a row that brought nothing
PAUSE = 1.0  # seconds before the second try; twice as long before each further one
_BLOCK = 1 << 18


def download_task(
    task: GlueTask, glue_dir: str | Path, base: str = OFFICIAL, note: Callable[[str], None] = print
) -> None:
    """Make ``GLUE_DIR/FOLDER`` unless it is there, MNLI with the diagnostic set beside it.

    base: the address that the paths of `GLUE_FILES` stand below; ``https``, ``http`` or ``file``.
    note: takes a sentence about what was there and what was written.

    Raises:
        DwtError: a file cannot be fetched, is another one, or lacks a part that the task needs.
    """
    folder, downloads = Path(glue_dir) / task.folder, Path(glue_dir) / "downloads"
    if task.name == "mnli":
        diagnostics = Path(glue_dir) / "diagnostic" / "diagnostic.tsv"
        if not diagnostics.exists():
            found = fetch(GLUE_FILES[task.folder][1], downloads, base)
            with replacing(str(diagnostics)) as temporary:
                shutil.copyfile(found, temporary)
    if folder.exists():
        note(f"{folder} is there already, not downloaded")
        return
    archives = [fetch(file, downloads, base) for file in GLUE_FILES[task.folder]]
    with replacing_folder(folder) as partial:
        if task.name == "mrpc":
            train, test, dev_ids = archives
            rebuild_mrpc(train, test, dev_ids, partial)
        else:
            _extract(archives[0], task, partial)
    note(f"wrote {folder}")


def download_bpe(
    bpe_dir: str | Path, base: str = OFFICIAL, note: Callable[[str], None] = print
) -> None:
    """Fetch ``encoder.json``, ``vocab.bpe`` and ``dict.txt``, those that are not there.

    Raises:
        DwtError: see `download_task`.
    """
    for file in BPE_FILES:
        path = Path(bpe_dir) / file.name
        if not path.exists():
            note(f"wrote {fetch(file, Path(bpe_dir), base)}")
        elif sha256(path) != file.sha256:
            note(f"{path} is there already, and is not fairseq's own: used as it is")


def by_hand(
    tasks: Sequence[GlueTask], glue_dir: str | Path, bpe_dir: str | Path | None, base: str
) -> str:
    """A line for each file: address, bytes, SHA-256, and where to put it."""
    wanted = [
        (file, Path(glue_dir) / "downloads") for task in tasks for file in GLUE_FILES[task.folder]
    ]
    if bpe_dir:
        wanted += [(file, Path(bpe_dir)) for file in BPE_FILES]
    return "\n".join(
        f"{base.rstrip('/')}/{file.path}\n    {file.size:,} bytes  sha256 {file.sha256}\n"
        f"    to {folder / file.name}"
        for file, folder in wanted
    )


def fetch(file: Download, folder: Path, base: str = OFFICIAL) -> Path:
    """``FOLDER/NAME``, fetched unless it is there, whole and with the right checksum.

    A connection that is cut or stands still is taken up again where it stopped, also by a later
    call; it is given up after `TRIES` in a row without a byte.

    Raises:
        DwtError: it cannot be fetched, or is another file.
    """
    target, address = folder / file.name, f"{base.rstrip('/')}/{file.path}"
    if target.exists():
        _check(target, file, f"delete it, or put there what {address} gives")
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{file.name}.part"
    if part.exists() and part.stat().st_size > file.size:
        part.unlink()
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        if before == file.size:
            break
        try:
            _append(address, part, file)
            continue
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise _unreachable(address, error) from error
            reason = error
        after = part.stat().st_size if part.exists() else 0
        failures = 0 if after > before else failures + 1
        if failures == TRIES or isinstance(getattr(reason, "reason", None), FileNotFoundError):
            raise _unreachable(address, reason) from reason
        time.sleep(PAUSE * 2 ** max(failures - 1, 0))
    try:
        _check(part, file, f"another file lies at {address}: try again, or another --mirror")
    except DwtError:
        part.unlink()  # what was added to it would not mend it
        raise
    os.replace(part, target)
    return target


def _append(address: str, part: Path, file: Download) -> None:
    """Read on from the end of ``part``; a connection that ends early is an error."""
    from tqdm import tqdm

    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address)
    if start and not address.startswith("file:"):
        request.add_header("Range", f"bytes={start}-")
    with contextlib.ExitStack() as stack:
        answer = stack.enter_context(urllib.request.urlopen(request, timeout=TIMEOUT))
        resumed = getattr(answer, "status", None) == 206
        if not resumed:
            start = 0
        told = answer.headers.get("Content-Length")
        if told and told.isdigit() and start + int(told) != file.size:
            raise DwtError(
                f"{address}: expected a file of {file.size:,} bytes, the server has one of "
                f"{start + int(told):,}; GLUE changed there: try another --mirror"
            )
        output = stack.enter_context(open(part, "ab" if resumed else "wb"))
        bar = stack.enter_context(
            # disable=None: no bar where stderr is no terminal
            tqdm(total=file.size, initial=start, desc=file.name, unit="B", unit_scale=True,
                 leave=False, disable=None)
        )  # fmt: skip
        for block in iter(lambda: answer.read1(_BLOCK) if hasattr(answer, "read1")
                          else answer.read(_BLOCK), b""):  # fmt: skip
            start += len(block)
            if start > file.size:
                raise DwtError(
                    f"{address}: expected a file of {file.size:,} bytes, got more; GLUE changed "
                    "there: try another --mirror"
                )
            output.write(block)
            bar.update(len(block))
    if start < file.size:
        raise ConnectionError(f"the connection ended after {start:,} of {file.size:,} bytes")


def _unreachable(address: str, error: BaseException) -> DwtError:
    return DwtError(
        f"{address}: cannot fetch it ({error}); run again to go on from here, name a --mirror, or "
        "fetch by hand what --list-downloads lists"
    )


def _check(path: Path, file: Download, remedy: str) -> None:
    found = sha256(path)
    if found != file.sha256:
        raise DwtError(f"{path}: expected a file with SHA-256 {file.sha256}, got {found}; {remedy}")


def _extract(archive: Path, task: GlueTask, target: Path) -> None:
    """The task's own files, by their names; no other path of the archive is looked at."""
    with zipfile.ZipFile(archive) as content:
        for split in task.splits:
            name = f"{task.folder}/{split.file}"
            try:
                source = content.open(name)
            except KeyError:
                if split.required:
                    raise DwtError(f"{archive}: expected {name} in it, there is none") from None
                continue
            with source, open(target / split.file, "wb") as output:
                shutil.copyfileobj(source, output, _BLOCK)
