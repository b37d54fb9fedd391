"""Tiny data of every kind that the recipes read."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

from tests.processes import python


def write_text(folder: Path) -> None:
    """Two domains of a little language: ``lm-a``, ``lm-b``, ``mt-a``, ``mt-b``, ``rank``."""
    generator, preprocess = random.Random(1), ["-m", "fairseq_cli.preprocess"]
    text = folder / "text"
    text.mkdir()
    rows = {"train": 60, "valid": 40}
    for domain, step in (("a", 1), ("b", 3)):
        for split, number in rows.items():
            lines = []
            for _ in range(number):
                first = generator.randrange(20)
                words = [f"w{(first + i * step) % 20}" for i in range(generator.randint(3, 9))]
                lines.append(words if domain == "a" else words[::-1])
            (text / f"{domain}.{split}.x").write_text("".join(" ".join(w) + "\n" for w in lines))
            turned = [w if domain == "a" else w[::-1] for w in lines]
            (text / f"{domain}.{split}.y").write_text("".join(" ".join(w) + "\n" for w in turned))
    python(
        *preprocess, "-s", "x", "-t", "y", "--joined-dictionary", "--destdir", "mt-a",
        "--trainpref", "text/a.train", "--validpref", "text/a.valid", cwd=folder,
    )  # fmt: skip
    python(
        *preprocess, "-s", "x", "-t", "y", "--destdir", "mt-b", "--srcdict", "mt-a/dict.x.txt",
        "--tgtdict", "mt-a/dict.y.txt", "--trainpref", "text/b.train", "--validpref",
        "text/b.valid", cwd=folder,
    )  # fmt: skip
    for domain in "ab":
        python(
            *preprocess, "--only-source", "--destdir", f"lm-{domain}", "--srcdict",
            "mt-a/dict.x.txt", "--trainpref", f"text/{domain}.train.x", "--validpref",
            f"text/{domain}.valid.x", cwd=folder,
        )  # fmt: skip
    for name, side in (("input0", "x"), ("input1", "x"), ("input2", "y")):
        python(
            *preprocess, "--only-source", "--destdir", f"rank/{name}", "--srcdict",
            "mt-a/dict.x.txt", "--trainpref", f"text/b.train.{side}", "--validpref",
            f"text/b.valid.{side}", cwd=folder,
        )  # fmt: skip
    (folder / "rank" / "label").mkdir()
    for split, number in rows.items():
        labels = "".join(f"{generator.randrange(2)}\n" for _ in range(number))
        (folder / "rank" / "label" / f"{split}.label").write_text(labels)


def write_questions(folder: Path) -> None:
    """Questions of two answers, for commonsense_qa and winogrande: ``qa``."""
    generator = random.Random(2)
    (folder / "qa").mkdir()
    shutil.copy(folder / "mt-a" / "dict.x.txt", folder / "qa" / "dict.txt")
    for split, number in (("train", 40), ("valid", 12)):
        rows = []
        for _ in range(number):
            words = [f"w{generator.randrange(20)}" for _ in range(6)]
            right = generator.randrange(2)
            choices = [{"text": word} for word in words[4:]]
            row = {
                "answerKey": "AB"[right],
                "question": {"stem": " ".join(words[:4]), "choices": choices},
                "sentence": " ".join([*words[:2], "_", *words[2:4]]),
                "option1": words[4],
                "option2": words[5],
                "answer": str(right + 1),
            }
            rows.append(json.dumps(row) + "\n")
        (folder / "qa" / f"{split}.jsonl").write_text("".join(rows))


def write_spectra(folder: Path) -> None:
    """Features of 80 channels and their words, of two domains: ``s2t-a``, ``s2t-b``."""
    import numpy as np

    generator = np.random.RandomState(0)
    for domain in "ab":
        data = folder / f"s2t-{domain}"
        data.mkdir()
        shutil.copy(folder / "mt-a" / "dict.y.txt", data / "dict.txt")
        (data / "config.yaml").write_text("vocab_filename: dict.txt\ninput_feat_per_channel: 80\n")
        for split, number in (("train", 30), ("valid", 10)):
            rows = ["id\taudio\tn_frames\ttgt_text\tspeaker\n"]
            for i in range(number):
                words = [f"w{generator.randint(20)}" for _ in range(3)]
                frames = generator.randn(24, 80).astype("float32")
                np.save(data / f"features-{split}{i}.npy", frames)
                rows.append(
                    f"{split}{i}\t{data}/features-{split}{i}.npy\t24\t{' '.join(words)}\ts\n"
                )
            (data / f"{split}.tsv").write_text("".join(rows))


def write_speech(folder: Path) -> None:
    """Tones and their letters: ``speech``."""
    import numpy as np
    import soundfile

    (folder / "speech").mkdir()
    generator = np.random.RandomState(0)
    for split, number in (("train", 12), ("valid", 8)):
        names, letters, clusters = [], [], []
        for i in range(number):
            word = "".join(generator.choice(list("ABCD"), 3))
            tones = [np.sin(np.arange(2000) * (0.05 + 0.05 * "ABCD".index(c))) for c in word]
            wave = 0.5 * np.concatenate(tones).astype("float32")
            wave += 0.01 * generator.randn(len(wave)).astype("float32")
            soundfile.write(str(folder / "speech" / f"{split}{i}.wav"), wave, 16000)
            names.append(f"{split}{i}.wav\t{len(wave)}\n")
            letters.append(" ".join(word) + " |\n")
            units = generator.randint(8, size=len(wave) // 160)
            clusters.append(" ".join(map(str, units)) + "\n")
        (folder / "speech" / f"{split}.tsv").write_text(f"{folder}/speech\n" + "".join(names))
        (folder / "speech" / f"{split}.ltr").write_text("".join(letters))
        (folder / "speech" / f"{split}.km").write_text("".join(clusters))
    (folder / "speech" / "dict.ltr.txt").write_text("| 9\nA 9\nB 9\nC 9\nD 9\n")
    (folder / "speech" / "dict.km.txt").write_text("".join(f"{i} 1\n" for i in range(8)))
