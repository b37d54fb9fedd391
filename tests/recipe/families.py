"""Tiny recipes of fairseq's own: a task and a model each, as their users launch them."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fairseq_dwt
from tests.processes import python

USER_DIR = str(Path(fairseq_dwt.__file__).parent)
#: Legacy models are kept as a Namespace, which torch from 2.6 on refuses to read: stock fairseq too.
STOCK = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
COMMON = (
    "--cpu --log-format simple --no-epoch-checkpoints --seed 1 --num-workers 0 --optimizer adam "
    "--disable-validation"
).split()


def sizes(*parts: str) -> list[str]:
    found = []
    for part in parts:
        found += f"--{part}-layers 2 --{part}-embed-dim 16 --{part}-ffn-embed-dim 32".split()
        found += f"--{part}-attention-heads 2".split()
    return found


@dataclass
class Family:
    """One recipe.

    Attributes:
        recipe: of the fine-tuning, without what the run is.
        pretrain: of the pre-training.
        matrices: how many ticket matrices it has.
        stock: the tool that takes its checkpoint, and how; its last words hold the score.
        head: parameters of the fine-tuned model that no file gives.
        hydra: whether it is launched by fairseq-hydra-train.
        init: the setting that names θ0's file.
    """

    recipe: list[str]
    pretrain: list[str]
    matrices: int
    stock: list[str]
    head: set[str] = field(default_factory=set)
    hydra: bool = False
    init: str = "--finetune-from-model"

    def train(self, folder: Path, out: str, *more: str, start: bool = True, **env: str) -> str:
        """Fine-tune in ``folder``; ``more`` as fairseq-train's flags, ``--ticket-k 1``."""
        if self.hydra:
            more = tuple(_as_hydra(more))
            start_file = [f"{self.init}={folder}/pre/checkpoint_last.pt"] if start else []
            settings = [*_hydra_folders(folder, out), *start_file, *more]
            program = ["-m", "fairseq_cli.hydra_train", *self.recipe, *settings]
            return python(*program, cwd=folder, **env)
        begin = [self.init, "pre/checkpoint_last.pt"] if start else []
        program = ["-m", "fairseq_cli.train", *self.recipe, *COMMON, *begin]
        return python(*program, "--save-dir", out, *more, cwd=folder, **env)


def _hydra_folders(folder: Path, out: str) -> list[str]:
    places = {"checkpoint.save_dir": out, "hydra.run.dir": out, "task.data": "speech"}
    return [f"{name}={folder}/{place}" for name, place in places.items()]


def _as_hydra(flags: tuple[str, ...]) -> list[str]:
    known = {"--lr": "optimization.lr=[{}]", "--max-update": "optimization.max_update={}"}
    found, rest = [], list(flags)
    while rest:
        name, value = rest.pop(0), rest.pop(0)
        if name == "--user-dir":
            found.append(f"common.user_dir={value}")
        elif name.startswith("--ticket-"):
            key = name.removeprefix("--ticket-").replace("-", "_")
            value = os.path.abspath(value) if value.endswith(".json") else value
            found.append(f"+ticket.{key}={value}")
        else:
            found.append(known[name].format(value))
    return found


LM = (
    "--task language_modeling --arch transformer_lm --share-decoder-input-output-embed "
    "--tokens-per-sample 32 --dropout 0.1 --batch-size 4"
).split() + sizes("decoder")
MT = "--arch transformer --share-all-embeddings --dropout 0.1 --max-tokens 300".split()
MT = ["--task", "translation", *MT, *sizes("encoder", "decoder")]
MT += "--criterion label_smoothed_cross_entropy --label-smoothing 0.1".split()
MLM = "--task masked_lm --arch roberta_base --tokens-per-sample 32 --max-positions 34".split()
MLM += ["--criterion", "masked_lm", "--batch-size", "4", *sizes("encoder")]
BART = "--arch bart_base --max-source-positions 40 --max-target-positions 40".split()
BART += sizes("encoder", "decoder")
DENOISING = (
    "--task denoising --tokens-per-sample 32 --batch-size 8 --criterion cross_entropy "
    "--mask 0.3 --mask-length word --replace-length 1"
).split()
RANKING = (
    "--task sentence_ranking --num-classes 2 --init-token 0 --criterion sentence_ranking "
    "--arch roberta_base --max-positions 34 --batch-size 4"
).split() + sizes("encoder")
CONF = str(Path(__file__).parent / "conf")

FAMILIES = {
    "translation": Family(
        ["mt-b", *MT],
        ["mt-a", *MT],
        32,
        ["-m", "fairseq_cli.generate", "mt-b", "--beam", "2", "--gen-subset", "valid", "--cpu"],
    ),
    "language_modeling": Family(
        ["lm-b", *LM],
        ["lm-a", *LM],
        12,
        ["-m", "fairseq_cli.eval_lm", "lm-b", "--gen-subset", "valid", "--cpu"],
    ),
    "masked_lm": Family(
        ["lm-b", *MLM],
        ["lm-a", *MLM],
        12,
        [],
    ),
    "bart": Family(
        ["mt-b", "--task", "translation", *BART, *MT[-4:], "--max-tokens", "300"],
        ["lm-a", *DENOISING, *BART],
        32,
        ["-m", "fairseq_cli.generate", "mt-b", "--beam", "2", "--gen-subset", "valid", "--cpu"],
    ),
    "sentence_ranking": Family(
        ["rank", *RANKING],
        ["lm-a", *MLM],
        12,
        [],
        head={"sentence_classification_head"},
    ),
    "wav2vec_ctc": Family(
        ["--config-dir", CONF, "--config-name", "wav2vec_ctc"],
        ["--config-dir", CONF, "--config-name", "wav2vec2"],
        12,
        [],
        head={"proj"},
        hydra=True,
        init="model.w2v_path",
    ),
}


def write_text(folder: Path) -> None:
    """Two domains of a little language: ``lm-a``, ``lm-b``, ``mt-a``, ``mt-b``, ``rank``."""
    generator, preprocess = random.Random(1), ["-m", "fairseq_cli.preprocess"]
    text = folder / "text"
    text.mkdir()
    rows = {"train": 60, "valid": 12}
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


def write_speech(folder: Path) -> None:
    """Tones and their letters: ``speech``."""
    import numpy as np
    import soundfile

    (folder / "speech").mkdir()
    generator = np.random.RandomState(0)
    for split, number in (("train", 12), ("valid", 4)):
        names, letters = [], []
        for i in range(number):
            word = "".join(generator.choice(list("ABCD"), 3))
            tones = [np.sin(np.arange(2000) * (0.05 + 0.05 * "ABCD".index(c))) for c in word]
            wave = 0.5 * np.concatenate(tones).astype("float32")
            wave += 0.01 * generator.randn(len(wave)).astype("float32")
            soundfile.write(str(folder / "speech" / f"{split}{i}.wav"), wave, 16000)
            names.append(f"{split}{i}.wav\t{len(wave)}\n")
            letters.append(" ".join(word) + " |\n")
        (folder / "speech" / f"{split}.tsv").write_text(f"{folder}/speech\n" + "".join(names))
        (folder / "speech" / f"{split}.ltr").write_text("".join(letters))
    (folder / "speech" / "dict.ltr.txt").write_text("| 9\nA 9\nB 9\nC 9\nD 9\n")


def prepare(family: Family, folder: Path) -> None:
    """Data, and the pre-trained file ``pre/checkpoint_last.pt``."""
    if family.hydra:
        write_speech(folder)
        program = ["-m", "fairseq_cli.hydra_train", *family.pretrain]
        python(*program, *_hydra_folders(folder, "pre"), cwd=folder)
        return
    write_text(folder)
    settings = ["--save-dir", "pre", "--lr", "0.003", "--max-update", "12"]
    python("-m", "fairseq_cli.train", *family.pretrain, *COMMON, *settings, cwd=folder)


def ticket_run(**settings: Any) -> list[str]:
    """Flags ``--user-dir … --ticket-…``."""
    found = ["--user-dir", USER_DIR]
    for name, value in settings.items():
        found += [f"--ticket-{name.replace('_', '-')}", str(value)]
    return found
