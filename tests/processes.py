"""fairseq's programs in processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import Any, List, Sequence

HYDRA_TRAIN = ["-m", "fairseq_cli.hydra_train"]
#: Settings of the tiny RoBERTa's runs, started in the folder ``small.folder``.
COMMON = [
    "task.data=data-bin/RTE",
    "checkpoint.finetune_from_model=model.pt",
    "optimization.max_update=6",
    "optimization.lr=[0.01]",
    "lr_scheduler.warmup_updates=0",
    "dataset.batch_size=8",
    "model.dropout=0",
    "model.attention_dropout=0",
    "model.pooler_dropout=0",
]


def start(*command: str, cwd: Any) -> subprocess.Popen:
    """Python with these arguments; its two outputs in one."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *command], cwd=cwd, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        # a shell that runs the tests in the background lets its children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def finish(process: subprocess.Popen) -> str:
    """What it printed; it must have ended well."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-4000:]
    return output


def workers(
    number: int, *command: str, cwd: Any, program: Sequence[str] = HYDRA_TRAIN
) -> List[subprocess.Popen]:
    """So many gloo workers of one run of ``fairseq-hydra-train``, or of a program in its place."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    common = [
        "common.cpu=true",
        f"distributed_training.distributed_world_size={number}",
        f"distributed_training.distributed_init_method=tcp://localhost:{port}",
        "distributed_training.distributed_no_spawn=true",
        "distributed_training.distributed_backend=gloo",
    ]
    return [
        start(
            *program, *command, *common, f"distributed_training.distributed_rank={rank}",
            cwd=cwd,
        )
        for rank in range(number)
    ]  # fmt: skip
