"""A RoBERTa small enough to train in a second, data for it, and fairseq run in this process."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

#: Two layers of width 8 and two heads: 12 ticket matrices.
SIZES = dict(
    encoder_layers=2,
    encoder_embed_dim=8,
    encoder_ffn_embed_dim=16,
    encoder_attention_heads=2,
    max_positions=20,
)
WORDS = [f"w{i}" for i in range(30)]


#: Folders whose tests train by the real commands, the longest last.
SLOW = ("half", "user_dir", "faults", "real")


def pytest_collection_modifyitems(config, items):
    """What is quick comes first, the tests on real inputs last; with xdist the other way round."""

    def place(item):
        return max((SLOW.index(part) + 1 for part in item.path.parts if part in SLOW), default=0)

    items.sort(key=place, reverse=hasattr(config, "workerinput"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests stay in one process, and so do all on real inputs, which share a stage 1."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.partition("::")[0]
            return "real" if "/real/" in path else path

    return ByFile(config, log)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> SimpleNamespace:
    """Paths of a random-weight RoBERTa in fp16 and of a pair-classification data-bin."""
    folder = tmp_path_factory.mktemp("small")
    data = folder / "data-bin" / "RTE"
    write_data(str(data))
    init = str(folder / "model.pt")
    write_roberta(init, str(data))
    return SimpleNamespace(folder=folder, data=str(data), init=init)


@pytest.fixture(scope="session")
def one_of_each(small, tmp_path_factory) -> Path:
    """A folder with a good file of each kind that fairseq_dwt writes, and a fine-tuned checkpoint."""
    from fairseq_dwt.checkpoint import Pretrained, Tuned
    from fairseq_dwt.delta import export
    from fairseq_dwt.delta.recipe import export_recipe
    from fairseq_dwt.find.controls import random_columns, random_elements
    from fairseq_dwt.glue.predictions import DevPredictions
    from fairseq_dwt.ticket import origin_of

    folder = tmp_path_factory.mktemp("one_of_each")
    pretrained = Pretrained(small.init)
    origin = origin_of("random", pretrained, seed=1)
    ticket = random_columns(pretrained.matrices, 2, 1, origin)
    ticket.save(str(folder / "ticket.json"))
    random_elements(pretrained.matrices, 5, 1, origin).save(str(folder / "mask.safetensors"))
    tuned = fine_tuned(pretrained, ticket, str(folder / "tuned.pt"))
    delta = export(pretrained, Tuned(tuned), ticket, ["0", "1"])
    delta.save(str(folder / "task.delta.safetensors"))
    recipe = export_recipe(pretrained, tuned, ticket)
    recipe.save(str(folder / "recipe.delta.safetensors"))
    rows = {i: (float(i % 2), float(i % 3 > 0)) for i in range(9)}
    DevPredictions(460, "accuracy", 78.9, 1, rows).save(str(folder / "predictions.tsv"))
    return folder


def fine_tuned(pretrained, ticket, path, precision="fp32", seed=0, classes=2):
    """A checkpoint as fairseq saves it: ticket and head moved, in fp32 whatever it was trained in."""
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    generator = torch.Generator().manual_seed(seed)
    state = {n: t.to(dtype).clone() for n, t in pretrained.tensors.items()}
    state.update({n: t.to(dtype) for n, t in pretrained.lm_head.items()})
    for name, part in ticket.parts(pretrained.matrices).items():
        part.write(state[name], torch.randn(part.values_shape, generator=generator))
    for name, shape in (
        ("dense.weight", (8, 8)),
        ("dense.bias", (8,)),
        ("out_proj.weight", (classes, 8)),
        ("out_proj.bias", (classes,)),
    ):
        state["classification_heads.sentence_classification_head." + name] = torch.randn(
            shape, generator=generator
        ).to(dtype)
    cfg = {
        "common": {"fp16": precision == "fp16", "bf16": precision == "bf16"},
        "task": {"num_classes": classes, "init_token": 0, "separator_token": 2, "data": "x/RTE"},
    }
    saved = {"cfg": cfg, "args": None, "model": {n: t.float() for n, t in state.items()}}
    torch.save({**saved, "task_state": {"labels": [f"l{i}" for i in range(classes)]}}, path)
    return str(path)


def write_roberta(path: str, data: str, dtype: torch.dtype = torch.float16, seed: int = 0) -> None:
    """Save a random RoBERTa as ``roberta.large/model.pt`` is saved: args in a Namespace, fp16."""
    from fairseq.data import Dictionary

    dictionary = Dictionary.load(os.path.join(data, "input0", "dict.txt"))
    model = roberta(dictionary.symbols[dictionary.nspecial :], seed)
    state = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    saved = argparse.Namespace(arch="roberta", task="masked_lm", data="", dropout=0.1, **SIZES)
    history = {
        "criterion_name": "MaskedLmLoss",
        "optimizer_name": "FairseqAdam",
        "lr_scheduler_state": {},
        "num_updates": 0,
    }
    torch.save(
        {
            "args": saved,
            "model": state,
            "optimizer_history": [history],
            "extra_state": {"train_iterator": {"epoch": 1}},
            "last_optimizer_state": None,
        },
        path,
    )


def roberta(words: list[str], seed: int = 0, dropout: float = 0.0, **sizes: int) -> Any:
    """A random RoBERTa whose biases are not zero, as a pre-trained model's are not.

    ``sizes`` replace some of ``SIZES``.
    """
    from fairseq.data import Dictionary
    from fairseq.models.roberta import RobertaModel

    dictionary = Dictionary()
    for word in [*words, "<mask>"]:
        dictionary.add_symbol(word)
    torch.manual_seed(seed)
    settings = {"dropout": dropout, "attention_dropout": dropout, **SIZES, **sizes}
    args = argparse.Namespace(arch="roberta", **settings)
    model = RobertaModel.build_model(args, SimpleNamespace(source_dictionary=dictionary))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def write_data(folder: str, rows: int = 96) -> None:
    """A learnable task: does the second sentence repeat the first one's first word?"""
    import random

    from fairseq.data import Dictionary, indexed_dataset

    generator = random.Random(0)
    words, labels = Dictionary(), Dictionary()
    for word in WORDS:
        words.add_symbol(word)
    for label in ("1", "0"):
        labels.add_symbol(label)
    labels.finalize(padding_factor=8)
    for split in ("train", "valid"):
        sentences: dict[str, list[torch.Tensor]] = {"input0": [], "input1": [], "label": []}
        for _ in range(rows if split == "train" else 16):
            first = generator.sample(WORDS, generator.randint(3, 6))
            label = generator.choice("01")
            second = generator.sample(WORDS[1:], 3) if label == "0" else first[:1] + first[-1:]
            for name, tokens, dictionary in (
                ("input0", first, words),
                ("input1", second, words),
                ("label", [label], labels),
            ):
                line = dictionary.encode_line(" ".join(tokens), add_if_not_exist=False)
                sentences[name].append(line.long())
        for name, lines in sentences.items():
            os.makedirs(os.path.join(folder, name), exist_ok=True)
            (labels if name == "label" else words).save(os.path.join(folder, name, "dict.txt"))
            prefix = os.path.join(folder, name, split)
            builder = indexed_dataset.make_builder(prefix + ".bin", "mmap", vocab_size=60)
            for line in lines:
                builder.add_item(line)
            builder.finalize(prefix + ".idx")


@pytest.fixture(scope="session")
def pretrained(small):
    """The tiny RoBERTa's file."""
    from fairseq_dwt.checkpoint import Pretrained

    return Pretrained(small.init)


@pytest.fixture
def ticket(pretrained, tmp_path):
    """A file: two random columns of each matrix."""
    from fairseq_dwt.find.controls import random_columns
    from fairseq_dwt.ticket import origin_of

    path = str(tmp_path / "given.json")
    origin = origin_of("random", pretrained, seed=3)
    random_columns(pretrained.matrices, 2, seed=3, origin=origin).save(path)
    return path


@pytest.fixture
def mask(pretrained, tmp_path):
    """A file: five per cent of the entries of each matrix."""
    from fairseq_dwt.find.controls import random_elements
    from fairseq_dwt.ticket import origin_of

    path = str(tmp_path / "mask.safetensors")
    random_elements(pretrained.matrices, 5, 1, origin_of("random", pretrained)).save(path)
    return path


@pytest.fixture
def train(small, tmp_path, monkeypatch):
    """``train("ticket_rte", "optimizer.k=1", folder=…)`` runs a named config; returns its folder.

    Without dropout, in fp32 on the CPU, 6 updates of 8 pairs, unless overridden.
    """

    def run(name: str, *overrides: str, folder: Any = None) -> str:
        import fairseq_cli.train

        folder = str(folder or tmp_path / "run")
        # common.cpu=true hides a GPU from the process
        monkeypatch.setattr(torch.cuda, "is_available", torch.cuda.is_available)
        os.makedirs(folder, exist_ok=True)
        monkeypatch.chdir(folder)
        settings = {
            "task.data": small.data,
            "task.cwd": str(small.folder),
            "task.num_classes": 2,
            "checkpoint.finetune_from_model": small.init,
            "common.fp16": "false",
            "common.cpu": "true",
            "common.log_format": "none",
            "dataset.batch_size": 8,
            "optimization.max_update": 6,
            "lr_scheduler.warmup_updates": 0,
            "optimization.lr": "[0.01]",
            "model.dropout": 0,
            "model.attention_dropout": 0,
            "model.pooler_dropout": 0,
            "distributed_training.distributed_world_size": 1,
        }
        removed = [override for override in overrides if override.startswith("~")]
        settings.update(o.split("=", 1) for o in overrides if not o.startswith("~"))
        kept = [f"{k}={v}" for k, v in settings.items() if f"~{k}" not in removed]
        fairseq_cli.train.main(compose(name, kept + removed))
        return folder

    return run


def compose(name: str, overrides: list[str]) -> Any:
    """A config of ours, with the plugin's names registered."""
    import fairseq_dwt
    from fairseq_dwt.run import config

    fairseq_dwt.register()
    return config.compose(name, overrides)


def weights(checkpoint: str) -> dict[str, torch.Tensor]:
    """The model's tensors in a checkpoint."""
    from fairseq_dwt.checkpoint import load_checkpoint

    return load_checkpoint(checkpoint)["model"]


@pytest.fixture(scope="session")
def real_dir() -> str:
    """The folder of real inputs (real GLUE, a pre-trained encoder), or skip."""
    folder = os.environ.get("DWT_REAL_DIR")
    if not folder:
        pytest.skip("DWT_REAL_DIR is not set: the real inputs are not here")
    return folder
