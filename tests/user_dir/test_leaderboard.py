"""The commands of examples/glue/README.md, as they stand there, from an empty folder to the zip."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from fairseq_dwt.glue.suite import TASKS
from tests.glue.fixture_data import write_task

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "glue" / "demo" / "model"


def test_the_commands_of_the_readme(tmp_path):
    text = (ROOT / "examples" / "glue" / "README.md").read_text(encoding="utf-8")
    section = text.split("## From an empty folder to the leaderboard")[1]
    script = re.search(r"```\n(.*?)```", section, re.S)[1]
    # the demo's model for RoBERTa-large, which is not here; two tasks, a few updates on the CPU
    tokens = f"--bpe sentencepiece --sentencepiece-model {DEMO}/sentencepiece.model"
    tokens += f" --dict {DEMO}/dict.txt"
    for written, run in {
        "wget https://dl.fbaipublicfiles.com/fairseq/models/roberta.large.tar.gz"
        " && tar xzf roberta.large.tar.gz": f"mkdir roberta.large && cp {DEMO}/* roberta.large",
        "--download --task all": f"--task all {tokens}",
        "mnli qnli qqp sst_2 cola mrpc rte sts_b": "rte sts_b",
        "optimizer.ticket=roberta.large/mnli": "optimizer.ticket=random common.cpu=true"
        " common.fp16=false optimization.max_update=4 lr_scheduler.warmup_updates=0",
        "--bpe-dir gpt2_bpe": tokens,
    }.items():
        assert script.count(written) == 1, written
        script = script.replace(written, run)
    for name in ("rte", "sts_b"):
        task = TASKS[name]
        write_task(tmp_path / "glue_data" / task.folder, task, 20)
    bin_folder = os.path.dirname(sys.executable)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "D": str(ROOT), "PATH": bin_folder + os.pathsep + os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "RTE valid: accuracy" in done.stdout and "STS-B valid: pearson" in done.stdout
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        assert sorted(archive.namelist()) == ["RTE.tsv", "STS-B.tsv", "WNLI.tsv"]
        assert len(archive.read("RTE.tsv").splitlines()) == 21
