"""Tiny recipes of fairseq's own: a task and a model each, as their users launch them."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import fairseq_dwt
from tests.processes import python
from tests.recipe.data import write_questions, write_spectra, write_speech, write_text

USER_DIR = str(Path(fairseq_dwt.__file__).parent)
#: Legacy models are kept as a Namespace, which torch from 2.6 on refuses to read: stock fairseq too.
STOCK = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
COMMON = (
    "--cpu --log-format simple --no-epoch-checkpoints --seed 1 --num-workers 0 --optimizer adam"
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
        validate: of fairseq-validate, which takes its checkpoint.
        tool: another of fairseq's commands that takes it: generate, eval_lm.
        head: parameters of the fine-tuned model that no file gives.
        hydra: whether it is launched by fairseq-hydra-train.
        init: the setting that names θ0's file.
        user_dir: the recipe's own.
    """

    recipe: list[str]
    pretrain: list[str]
    matrices: int
    validate: list[str]
    tool: str | None = None
    head: set[str] = field(default_factory=set)
    hydra: bool = False
    init: str = "--finetune-from-model"

    user_dir: str | None = None

    def train(
        self,
        folder: Path,
        out: str,
        *more: str,
        start: bool = True,
        validate: bool = False,
        **env: str,
    ) -> str:
        """Fine-tune in ``folder``; ``more`` as fairseq-train's flags, ``--ticket-k 1``."""
        if self.user_dir is not None and "--user-dir" in more:
            more = (*more, "--ticket-user-dir", self.user_dir)
        if self.hydra:
            more = tuple(_as_hydra(more))
            start_file = [f"{self.init}={folder}/pre/checkpoint_last.pt"] if start else []
            settings = [*_hydra_folders(folder, out), *start_file, *more]
            settings += [f"dataset.disable_validation={not validate}"]
            program = ["-m", "fairseq_cli.hydra_train", *self.recipe, *settings]
            return python(*program, cwd=folder, **env)
        begin = [self.init, "pre/checkpoint_last.pt"] if start else []
        program = ["-m", "fairseq_cli.train", *self.recipe, *COMMON, *begin]
        begin = [] if validate else ["--disable-validation"]
        return python(*program, "--save-dir", out, *more, *begin, cwd=folder, **env)


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


BATCH = ["--batch-size", "4"]
LM = (
    "--task language_modeling --arch transformer_lm --share-decoder-input-output-embed "
    "--tokens-per-sample 32 --dropout 0.1"
).split() + [*BATCH, *sizes("decoder")]
SMOOTHED = "--criterion label_smoothed_cross_entropy --label-smoothing 0.1 --max-tokens 300".split()
TRANSFORMER = "--arch transformer --share-all-embeddings --dropout 0.1".split()
TRANSFORMER += sizes("encoder", "decoder")
MT = ["--task", "translation", *TRANSFORMER, *SMOOTHED]
MLM = "--task masked_lm --arch roberta_base --tokens-per-sample 32 --max-positions 34".split()
MLM += ["--criterion", "masked_lm", *BATCH, *sizes("encoder")]
BART = "--arch bart_base --max-source-positions 40 --max-target-positions 40".split()
BART += sizes("encoder", "decoder")
DENOISING = (
    "--task denoising --tokens-per-sample 32 --batch-size 8 --criterion cross_entropy "
    "--mask 0.3 --mask-length word --replace-length 1"
).split()
# its task, translation_from_pretrained_bart, does not run in either fairseq
MBART = ["--task", "translation", "--arch", "mbart_base", *BART[2:], *SMOOTHED]
MANY = (
    "--task translation_multi_simple_epoch --lang-pairs x-y --langs x,y --encoder-langtok src "
    "--decoder-langtok --sampling-method temperature"
).split()
RANKING = "--num-classes 2 --init-token 0 --criterion sentence_ranking".split()
ROBERTA = ["--arch", "roberta_base", "--max-positions", "34", *BATCH, *sizes("encoder")]
S2T = "--task speech_to_text --config-yaml config.yaml --arch s2t_transformer_xs".split()
S2T += [*sizes("encoder", "decoder"), "--conv-channels", "16", *SMOOTHED]
CONF = str(Path(__file__).parent / "conf")
MENDED = str(Path(__file__).parent / "mended_hubert")

FAMILIES = {
    "translation": Family(
        ["mt-b", *MT],
        ["mt-a", *MT],
        32,
        ["mt-b", "--task", "translation", *SMOOTHED[-2:]],
        tool="generate",
    ),
    "language_modeling": Family(
        ["lm-b", *LM],
        ["lm-a", *LM],
        12,
        ["lm-b", "--task", "language_modeling", *BATCH],
        tool="eval_lm",
    ),
    "masked_lm": Family(
        ["lm-b", *MLM], ["lm-a", *MLM], 12, ["lm-b", "--task", "masked_lm", *BATCH]
    ),
    "bart": Family(
        ["mt-b", "--task", "translation", *BART, *SMOOTHED],
        ["lm-a", *DENOISING, *BART],
        32,
        ["mt-b", "--task", "translation", *SMOOTHED[-2:]],
        tool="generate",
    ),
    "mbart": Family(
        ["mt-b", *MBART],
        ["mt-a", *MBART],
        32,
        ["mt-b", "--task", "translation", *SMOOTHED[-2:]],
        tool="generate",
    ),
    "m2m": Family(
        ["mt-b", *MANY, *TRANSFORMER, *SMOOTHED],
        ["mt-a", *MANY, *TRANSFORMER, *SMOOTHED],
        32,
        ["mt-b", *MANY, *SMOOTHED[-2:]],
    ),
    "speech_to_text": Family(
        ["s2t-b", *S2T], ["s2t-a", *S2T], 32, ["s2t-b", *S2T[:4], *SMOOTHED[-2:]], tool="generate"
    ),
    "sentence_ranking": Family(
        ["rank", "--task", "sentence_ranking", *RANKING, *ROBERTA],
        ["lm-a", *MLM],
        12,
        ["rank", "--task", "sentence_ranking", "--num-classes", "2", *BATCH],
        head={"sentence_classification_head"},
    ),
    "commonsense_qa": Family(
        ["qa", "--task", "commonsense_qa", *RANKING, *ROBERTA],
        ["lm-a", *MLM],
        12,
        ["qa", "--task", "commonsense_qa", "--num-classes", "2", *BATCH],
        head={"sentence_classification_head"},
        user_dir="examples/roberta/commonsense_qa",
    ),
    "winogrande": Family(
        "qa --task winogrande --criterion winogrande --wsc-cross-entropy".split() + ROBERTA,
        ["lm-a", *MLM],
        12,
        ["qa", "--task", "winogrande", *BATCH],
        user_dir="examples/roberta/wsc",
    ),
    "wav2vec_ctc": Family(
        ["--config-dir", CONF, "--config-name", "wav2vec_ctc"],
        ["--config-dir", CONF, "--config-name", "wav2vec2"],
        12,
        "speech --task audio_finetuning --labels ltr --max-tokens 100000".split(),
        head={"proj"},
        hydra=True,
        init="model.w2v_path",
    ),
    "hubert_ctc": Family(
        ["--config-dir", CONF, "--config-name", "hubert_ctc"],
        ["--config-dir", CONF, "--config-name", "hubert"],
        12,
        (
            "speech --task hubert_pretraining --labels ['ltr'] --max-tokens 100000 --label-dir "
            "speech --fine-tuning --label-rate -1"
        ).split(),
        head={"proj"},
        hydra=True,
        init="model.w2v_path",
        user_dir=MENDED,
    ),
}


@functools.cache
def _texts() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dwt-recipes-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for write in (write_text, write_questions, write_spectra):
        write(folder)
    return folder


@functools.cache
def _pretrained(recipe: tuple[str, ...]) -> Path:
    """The folder of a pre-training, which families share."""
    folder = _texts() / f"pre-{hash(recipe)}"
    settings = ["--save-dir", str(folder), "--lr", "0.003", "--max-update", "12"]
    program = ["-m", "fairseq_cli.train", *recipe, *COMMON, *settings, "--disable-validation"]
    python(*program, cwd=_texts())
    return folder


def prepare(family: Family, folder: Path) -> None:
    """Data, and the pre-trained file ``pre/checkpoint_last.pt``."""
    if family.hydra:
        write_speech(folder)
        program = ["-m", "fairseq_cli.hydra_train", *family.pretrain]
        python(*program, *_hydra_folders(folder, "pre"), cwd=folder)
        return
    for path in _texts().iterdir():
        if not path.name.startswith("pre-"):
            shutil.copytree(path, folder / path.name)
    shutil.copytree(_pretrained(tuple(family.pretrain)), folder / "pre")


def ticket_run(**settings: Any) -> list[str]:
    """Flags ``--user-dir … --ticket-…``."""
    found = ["--user-dir", USER_DIR]
    for name, value in settings.items():
        found += [f"--ticket-{name.replace('_', '-')}", str(value)]
    return found


def assert_same(one, other, **within):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        if within:
            torch.testing.assert_close(other[name], tensor, **within, msg=name)
        else:
            assert torch.equal(tensor, other[name]), name


STEPS = ["--lr", "0.003", "--max-update", "8"]
