"""``--download`` from servers on loopback: whole, cut, slow, with the wrong file; and by hand."""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fairseq_dwt.errors import DwtError
from fairseq_dwt.glue import download
from fairseq_dwt.glue.download import download_task, fetch
from fairseq_dwt.glue.official import Download
from fairseq_dwt.glue.suite import TASKS, glue_task
from tests.glue.fairseq_recipe import tree


class Server:
    """Serves ``files`` by path. cuts: bytes after which each next answer ends. log: the ranges."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.pause = 0.0
        self.ranges = True
        self.log: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = server.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                asked = self.headers.get("Range")
                server.log.append(asked or "all")
                start = 0
                if asked and server.ranges:
                    start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                end = start + server.cuts.pop(0) if server.cuts else len(content)
                self.wfile.write(content[start:end])
                self.wfile.flush()
                time.sleep(server.pause)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.01)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def known(path: str, content: bytes) -> Download:
    return Download(path, len(content), hashlib.sha256(content).hexdigest())


BIG = os.urandom(1 << 20)


@pytest.fixture
def big(server):
    server.files["/a/big.zip"] = BIG
    return known("a/big.zip", BIG)


def test_a_cut_connection_is_taken_up_where_it_ended(server, big, tmp_path):
    server.cuts = [300_000, 400_000]
    assert fetch(big, tmp_path, server.address).read_bytes() == BIG
    assert server.log == ["all", "bytes=300000-", "bytes=700000-"]
    assert os.listdir(tmp_path) == ["big.zip"]


def test_a_later_run_goes_on(server, big, tmp_path):
    server.cuts = [300_000] + [0] * download.TRIES
    with pytest.raises(DwtError, match=r"big.zip: cannot fetch it .* run again to go on"):
        fetch(big, tmp_path, server.address)
    assert (tmp_path / "big.zip.part").read_bytes() == BIG[:300_000]
    assert fetch(big, tmp_path, server.address).read_bytes() == BIG
    assert server.log[-1] == "bytes=300000-"


def test_a_server_without_ranges_starts_over(server, big, tmp_path):
    server.ranges, server.cuts = False, [300_000]
    assert fetch(big, tmp_path, server.address).read_bytes() == BIG


def test_a_server_that_stands_still_counts_as_cut(server, big, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    server.pause, server.cuts = 2.0, [300_000]
    start = time.monotonic()
    assert fetch(big, tmp_path, server.address).read_bytes() == BIG
    assert server.log == ["all", "bytes=300000-"]
    assert time.monotonic() - start < 1.9  # the first answer was not waited for


def test_a_wrong_checksum_leaves_nothing(server, big, tmp_path):
    server.files["/a/big.zip"] = BIG[:-1] + bytes([BIG[-1] ^ 1])
    with pytest.raises(DwtError, match=f"expected a file with SHA-256 {big.sha256}, got [0-9a-f]"):
        fetch(big, tmp_path, server.address)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [BIG[:-5], BIG + b"more"])
def test_another_size_is_refused_before_it_is_read(content, server, big, tmp_path):
    server.files["/a/big.zip"] = content
    with pytest.raises(DwtError, match="expected a file of 1,048,576 bytes, the server has one of"):
        fetch(big, tmp_path, server.address)
    assert os.listdir(tmp_path) == []


def test_no_such_file_and_no_server(server, tmp_path, monkeypatch):
    nothing = known("a/none.zip", b"x")
    with pytest.raises(DwtError, match=r"none.zip: cannot fetch it \(HTTP Error 404.*--mirror"):
        fetch(nothing, tmp_path, server.address)
    assert len(server.log) == 0
    with pytest.raises(DwtError, match=r"none.zip: cannot fetch it .*--list-downloads"):
        fetch(nothing, tmp_path, "http://127.0.0.1:9")
    with pytest.raises(DwtError, match=r"none.zip: cannot fetch it"):
        fetch(nothing, tmp_path, tmp_path.as_uri())


def test_a_file_put_there_by_hand_is_checked_and_used(server, big, tmp_path):
    (tmp_path / "big.zip").write_bytes(BIG)
    fetch(big, tmp_path, server.address)
    (tmp_path / "big.zip").write_bytes(b"something else")
    with pytest.raises(DwtError, match=r"big.zip: expected a file with SHA-256 .*; delete it, or"):
        fetch(big, tmp_path, server.address)
    assert server.log == []
    assert (tmp_path / "big.zip").read_bytes() == b"something else"


@pytest.fixture
def mirror(glue_dir, bpe_dir, tmp_path, monkeypatch):
    """All official files, made of the generated data, in a folder and in `download`'s tables."""
    folder = tmp_path / "mirror"
    table = {}
    for task in TASKS.values():
        contents = {}
        files = {path.name: path.read_bytes() for path in (glue_dir / task.folder).glob("*.tsv")}
        paths = [file.path for file in download.GLUE_FILES[task.folder]]
        if task.name == "mrpc":
            contents = dict(zip(paths, microsoft(with_ids(files))))
        else:
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                archive.writestr("../escaped.tsv", "no")
                archive.writestr(f"{task.folder}/original/raw.txt", "no")
                for name, content in files.items():
                    archive.writestr(f"{task.folder}/{name}", content)
            contents = {paths[0]: packed.getvalue()}
            contents.update((path, b"index\tsentence1\tsentence2\n0\ta\tb\n") for path in paths[1:])
        table[task.folder] = tuple(known(path, content) for path, content in contents.items())
        for path, content in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    monkeypatch.setattr(download, "GLUE_FILES", table)
    bpe = {file.path: (bpe_dir / file.name).read_bytes() for file in download.BPE_FILES}
    for path, content in bpe.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    monkeypatch.setattr(download, "BPE_FILES", tuple(known(*item) for item in bpe.items()))
    return folder


def with_ids(files: dict[str, bytes]) -> dict[str, bytes]:
    """MRPC with ids of its own for each row, which do not show in what is made of it."""
    result = {}
    for name, content in files.items():
        header, *rows = [line.split(b"\t") for line in content.rstrip(b"\n").split(b"\n")]
        for number, row in enumerate(rows):
            row[1] = row[2] = f"{name}-{number}".encode()
        result[name] = b"\n".join(map(b"\t".join, [header, *rows])) + b"\n"
    return result


def microsoft(files: dict[str, bytes]) -> list[bytes]:
    """Microsoft's train and test file, and GLUE's dev ids, of which GLUE's three were made."""
    header, *train = files["train.tsv"].rstrip(b"\n").split(b"\n")
    dev = files["dev.tsv"].rstrip(b"\n").split(b"\n")[1:]
    test = files["test.tsv"].rstrip(b"\n").split(b"\n")[1:]
    both = [header, *train[:2], *dev, *train[2:]]
    relabelled = [header] + [b"1\t" + row.split(b"\t", 1)[1] for row in test]
    ids = [b"\t".join(row.split(b"\t")[1:3]) for row in dev]
    return [b"".join(row + b"\r\n" for row in rows) for rows in (both, relabelled)] + [
        b"\n".join(ids) + b"\n"
    ]


def test_download_and_preprocess_all(
    mirror, glue_dir, expected, command, tmp_path, monkeypatch, capsys
):
    """The command as users type it, in an empty folder, but for the mirror."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    arguments = ["--download", "--task", "all", "--mirror", mirror.as_uri()]
    assert command(arguments) == 0, capsys.readouterr().err
    for task in TASKS.values():
        assert tree(Path("data-bin") / task.folder) == tree(expected / task.folder)
    assert Path("glue_data/diagnostic/diagnostic.tsv").is_file()
    assert not (tmp_path / "escaped.tsv").exists() and not list(Path().rglob("raw.txt"))
    assert command([*arguments, "--overwrite"]) == 0
    assert "CoLA is there already, not downloaded" in capsys.readouterr().out
    # MNLI of one's own, or a kill between the two: the diagnostic set is missing
    os.unlink("glue_data/diagnostic/diagnostic.tsv")
    dictionary = Path("gpt2_bpe/dict.txt")
    dictionary.write_bytes(dictionary.read_bytes().replace(b" ", b" 0", 1))
    assert command([*arguments, "--overwrite"]) == 0
    assert Path("glue_data/diagnostic/diagnostic.tsv").is_file()
    assert "dict.txt is there already, and is not fairseq's own" in capsys.readouterr().out


def test_a_task_without_its_archive_is_not_there(mirror, server, tmp_path):
    (mirror / "glue/data/RTE.zip").unlink()
    with pytest.raises(DwtError, match=r"RTE.zip: cannot fetch it"):
        download_task(glue_task("rte"), tmp_path / "glue", mirror.as_uri())
    assert not (tmp_path / "glue" / "RTE").exists()


def test_an_archive_that_lacks_a_file(mirror, tmp_path, monkeypatch):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("RTE/train.tsv", "")
    (mirror / "glue/data/RTE.zip").write_bytes(packed.getvalue())
    monkeypatch.setitem(
        download.GLUE_FILES, "RTE", (known("glue/data/RTE.zip", packed.getvalue()),)
    )
    with pytest.raises(DwtError, match=r"RTE.zip: expected RTE/dev.tsv in it, there is none"):
        download_task(glue_task("rte"), tmp_path / "glue", mirror.as_uri())
    assert sorted(os.listdir(tmp_path / "glue")) == ["downloads"]


def test_mrpc_is_rebuilt_byte_for_byte(real_dir, tmp_path, monkeypatch):
    source = real_dir / "glue" / "MRPC"
    files = {path.name: path.read_bytes() for path in source.glob("*.tsv")}
    made = microsoft(files)
    paths = [file.path for file in download.GLUE_FILES["MRPC"]]
    monkeypatch.setitem(download.GLUE_FILES, "MRPC", tuple(map(known, paths, made)))
    for path, content in zip(paths, made):
        (tmp_path / "m" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / path).write_bytes(content)
    download_task(glue_task("mrpc"), tmp_path / "glue", (tmp_path / "m").as_uri())
    rebuilt = {path.name: path.read_bytes() for path in (tmp_path / "glue" / "MRPC").iterdir()}
    assert rebuilt == files


def test_the_list_for_doing_it_by_hand(command, capsys):
    assert command(["--list-downloads", "--task", "MRPC"]) == 0
    text = capsys.readouterr().out
    assert text.count("https://dl.fbaipublicfiles.com/") == 3 + 3
    assert "mrpc_dev_ids.tsv\n    6,222 bytes  sha256 971d77" in text
    assert "to glue_data/downloads/msr_paraphrase_train.txt" in text
    assert "to gpt2_bpe/dict.txt" in text


def test_the_bpe_of_the_table_is_the_real_one(real_dir):
    for file in download.BPE_FILES:
        fetch(file, real_dir / "bpe", "file:///nowhere")


def test_a_mirror_needs_a_download(command, capsys):
    assert command(["--task", "rte", "--mirror", "file:///x"]) == 1
    assert "--mirror: expected it beside --download" in capsys.readouterr().err


@pytest.mark.parametrize("mirror", ["example.org/glue", "http://[bad", "ftp://example.org"])
def test_a_mirror_is_an_address(mirror, command, capsys):
    assert command(["--task", "rte", "--download", "--mirror", mirror]) == 1
    assert "--mirror: expected an address" in capsys.readouterr().err
