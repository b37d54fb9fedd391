"""fairseq's programs in processes of their own.

Each is forked from one that has imported torch and fairseq (not the plugin): importing them takes
longer than most of these runs. ``DWT_FRESH=1`` starts every one from the interpreter instead.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Union

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
_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(
    ["fairseq_cli.train", "fairseq_cli.preprocess", "safetensors.torch", "scipy.stats", "sklearn"]
)


class Forked:
    """A program in a forked process, with as much of ``subprocess.Popen`` as is used here."""

    def __init__(self, command: Sequence[str], cwd: Any, env: dict[str, str]) -> None:
        self.args = [sys.executable, *command]
        number, self._output = tempfile.mkstemp(prefix="output")
        os.close(number)
        self._process = _FORKED.Process(
            target=_run, args=(list(command), os.path.abspath(cwd), env, self._output)
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    poll = returncode.fget

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Its two outputs in one."""
        self.wait(timeout)
        with open(self._output, encoding="utf-8") as file:
            return file.read(), None

    def send_signal(self, number: int) -> None:
        if self._process.is_alive():
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(command: list[str], cwd: str, env: dict[str, str], output: str) -> None:
    """What ``python COMMAND`` does, in a process that was forked."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    with open(output, "w") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kind, *rest = command
    try:
        if kind == "-m":
            sys.argv, sys.path[0] = rest, cwd
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif kind == "-c":
            sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv, sys.path[0] = command, os.path.dirname(os.path.abspath(kind))
            runpy.run_path(kind, run_name="__main__")
    except SystemExit:
        raise
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)


Program = Union[Forked, "subprocess.Popen[str]"]


def start(*command: str, cwd: Any, **env: str) -> Program:
    """Python with these arguments; its two outputs in one."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    if not os.environ.get("DWT_FRESH"):
        return Forked(command, cwd, env)
    return subprocess.Popen(
        [sys.executable, *command], cwd=cwd, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        # a shell that runs the tests in the background lets its children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def finish(process: Program) -> str:
    """What it printed; it must have ended well."""
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-4000:]
    return output


def python(*command: str, cwd: Any, **env: str) -> str:
    """Python with these arguments, to its good end; returns what it printed."""
    return finish(start(*command, cwd=cwd, **env))


def workers(
    number: int, *command: str, cwd: Any, program: Sequence[str] = HYDRA_TRAIN
) -> list[Program]:
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
