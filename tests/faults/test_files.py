"""Files that are cut, altered, missing or cannot be written: an error, and nothing lost."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import zipfile

import pytest

from fairseq_dwt import DwtError
from fairseq_dwt.checkpoint import load_checkpoint
from fairseq_dwt.cli import main
from fairseq_dwt.delta import Delta
from fairseq_dwt.files import checksum, read_safetensors
from fairseq_dwt.ticket import ElementMask, Ticket

READERS = {
    "ticket.json": Ticket.load,
    "mask.safetensors": ElementMask.load,
    "task.delta.safetensors": Delta.load,
    "tuned.pt": load_checkpoint,
}


@contextlib.contextmanager
def full_disk(size):
    """No file grows beyond ``size`` bytes: writes fail as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("name", READERS)
def test_cut_at_every_kilobyte(name, one_of_each, tmp_path):
    whole = (one_of_each / name).read_bytes()
    path = tmp_path / name
    for size in {
        *range(0, len(whole), 1024),
        *range(1, len(whole), len(whole) // 8),
        len(whole) - 3,
    }:
        path.write_bytes(whole[:size])
        with pytest.raises(DwtError, match=str(path)):
            READERS[name](str(path))


def content(value, folder):
    """All that is written of it; safetensors puts its metadata in no particular order."""
    path = str(folder / "content")
    value.save(path)
    return Ticket.load(path) if isinstance(value, Ticket) else checksum(*read_safetensors(path))


@pytest.mark.parametrize("name", ["ticket.json", "mask.safetensors", "task.delta.safetensors"])
def test_a_flipped_bit_changes_nothing_silently(name, one_of_each, tmp_path):
    """Of a sample of all bits: refused, or the same content."""
    whole, path = bytearray((one_of_each / name).read_bytes()), tmp_path / name
    whole_content = content(READERS[name](str(one_of_each / name)), tmp_path)
    bits = range(0, 8 * len(whole), max(1, 8 * len(whole) // 3000) | 1)
    refused = 0
    for bit in bits:
        whole[bit // 8] ^= 1 << bit % 8
        path.write_bytes(whole)
        whole[bit // 8] ^= 1 << bit % 8
        try:
            found = READERS[name](str(path))
        except DwtError:
            refused += 1
            continue
        assert content(found, tmp_path) == whole_content, bit
    assert refused > 0.9 * len(bits)


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_checkpoint_is_not_resumed(cut, train, tmp_path):
    run = train("ticket_rte", "optimizer.ticket=random", "optimizer.k=2", folder=tmp_path)
    path = tmp_path / "checkpoint_last.pt"
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        tensors = [info for info in archive.infolist() if "/data/" in info.filename]
        record = max(tensors, key=lambda info: info.file_size)
    content = (
        record.header_offset
        + 30
        + sum(int.from_bytes(whole[record.header_offset + at :][:2], "little") for at in (26, 28))
    )  # after the record's name and padding
    whole[content + 2] ^= 4
    path.write_bytes(whole[: len(whole) // 2] if cut else whole)
    damaged = path.read_bytes()
    more = ["optimizer.ticket=random", "optimizer.k=2", "optimization.max_update=8"]
    with pytest.raises(DwtError, match="truncated" if cut else "the file is damaged: put another"):
        train("ticket_rte", *more, folder=run)
    assert path.read_bytes() == damaged
    shutil.copy(f"{run}/checkpoint_best.pt", path)
    train("ticket_rte", *more, folder=run)


def test_the_pretrained_file_is_gone_when_a_run_is_resumed(train, small, tmp_path):
    init = str(tmp_path / "model.pt")
    shutil.copy(small.init, init)
    mine = ["optimizer.ticket=random", "optimizer.k=2", f"checkpoint.finetune_from_model={init}"]
    run = train("ticket_rte", *mine, folder=tmp_path / "run")
    before = {name: os.stat(f"{run}/{name}").st_mtime_ns for name in os.listdir(run)}
    os.remove(init)
    with pytest.raises(DwtError, match="checkpoint.finetune_from_model: .* found none at"):
        train("ticket_rte", *mine, "optimization.max_update=8", folder=run)
    assert {name: os.stat(f"{run}/{name}").st_mtime_ns for name in os.listdir(run)} == before


COMMANDS = {
    "ticket": ["random", "-k", "2", "--init", "{init}", "-o", "{out}/ticket.json"],
    "mask": ["random", "--percent", "5", "--init", "{init}", "-o", "{out}/mask.safetensors"],
    "delta": [
        "export", "--init", "{init}", "--tuned", "{files}/tuned.pt", "--ticket",
        "{files}/ticket.json", "-o", "{out}/task.delta.safetensors",
    ],
    "checkpoint": [
        "apply", "--init", "{init}", "--delta", "{files}/task.delta.safetensors",
        "-o", "{out}/tuned.pt",
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", COMMANDS)
def test_a_full_disk_leaves_the_good_file(what, one_of_each, small, tmp_path, capsys):
    told = [
        part.format(init=small.init, files=one_of_each, out=tmp_path) for part in COMMANDS[what]
    ]
    assert main(told) == 0
    (written,) = os.listdir(tmp_path)
    good = (tmp_path / written).read_bytes()
    capsys.readouterr()
    for size in (0, 100, len(good) // 2, len(good) - 1):
        with full_disk(size):
            assert main(told) != 0
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and written in error, error
        assert os.listdir(tmp_path) == [written]
        assert (tmp_path / written).read_bytes() == good


@pytest.mark.parametrize("what", COMMANDS)
def test_a_folder_that_cannot_be_written(what, one_of_each, small, tmp_path, capsys):
    # a file in the folder's place: root may write into a folder that is read-only
    (tmp_path / "out").write_text("not a folder")
    told = [
        part.format(init=small.init, files=one_of_each, out=tmp_path / "out")
        for part in COMMANDS[what]
    ]
    assert main(told) != 0
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "out" in error, error
