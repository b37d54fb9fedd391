"""Real GLUE and a real pre-trained encoder (DWT_REAL_DIR), and stage 1 on them, run once."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

import fairseq_dwt
from tests.processes import python

PREPROCESS = os.path.join(
    os.path.dirname(os.path.dirname(fairseq_dwt.__file__)), "examples", "glue", "preprocess.py"
)


@pytest.fixture(scope="session")
def stand(real_dir, tmp_path_factory):
    """A folder with 1,600 sentences of three tasks in MiniLM's word pieces."""
    folder = tmp_path_factory.mktemp("real")
    minilm = os.path.join(real_dir, "minilm")
    for task in ("SST-2", "MRPC", "CoLA"):
        (folder / "glue" / task).mkdir(parents=True)
        for split, rows in (("train", 1600), ("dev", 64)):
            with open(os.path.join(real_dir, "glue", task, f"{split}.tsv"), "rb") as file:
                lines = file.readlines()[: rows + 1]
            (folder / "glue" / task / f"{split}.tsv").write_bytes(b"".join(lines))
    python(
        PREPROCESS, "--glue-dir", "glue", "--task", "SST-2", "MRPC", "CoLA", "--out", "data-bin",
        "--bpe", "bert", "--vocab-file", f"{minilm}/vocab.txt", "--dict", f"{minilm}/dict.txt",
        cwd=folder,
    )  # fmt: skip
    return SimpleNamespace(folder=folder, minilm=minilm, init=os.path.join(minilm, "model.pt"))


@pytest.fixture(scope="session")
def stage_1(stand):
    """The run folder of 60 updates of L1 fine-tuning on SST-2."""
    python(
        "-m", "fairseq_cli.hydra_train", "--config-name", "dwt_sst_2", "task.data=data-bin/SST-2",
        f"checkpoint.finetune_from_model={stand.init}", "optimization.max_update=60",
        "lr_scheduler.warmup_updates=4", "optimization.lr=[3e-5]", "hydra.run.dir=dwt",
        cwd=stand.folder,
    )  # fmt: skip
    return stand.folder / "dwt"
