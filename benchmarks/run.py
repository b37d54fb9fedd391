"""Step time and memory of ticket training beside full fine-tuning, BitFit, LoRA and SHiRA.

    python benchmarks/run.py                      RoBERTa-large, batch 16 × 64 and 16 × 128
    python benchmarks/run.py --layers 4 --lengths 64 --rounds 3
    python benchmarks/run.py --pairs              steps alone, each row beside the ticket only

First each row alone: what it keeps, and the peak of its process. Then the steps: rows take turns,
a step to warm up after the wait and a step that counts, as many rows at a time as fit into memory,
the ticket with k = 1 always among them. A row's time is in units of the ticket's step of the same
round: the median, least and greatest over the rounds. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import torch
from rows import ROWS
from shapes import Shape
from tqdm import tqdm

#: What steps are measured in units of, and what memory is a share of.
UNIT, BASE = "ticket k=1, compact", "full, fairseq as shipped"
Memory = dict[str, dict[str, float]]
TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Worker:
    """A row in a process of its own.

    Args:
        name: of the row.
        shape: of its model.
        threads: that it computes with.
        tree: a checkout of the project, whose rows and package it runs; this one by default.
    """

    def __init__(self, name: str, shape: Shape, threads: int, tree: str = TREE):
        command = [sys.executable, os.path.join(tree, "benchmarks", "worker.py"), name]
        self._process = subprocess.Popen(
            [*command, json.dumps(asdict(shape)), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": tree},
        )
        self._name = name
        self._ready = False

    def ask(self, command: str) -> Any:
        """Send a command and wait for its answer."""
        assert self._process.stdin is not None
        if not self._ready:
            self._ready = self._answer() == "ready"
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None and self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._name}: the process ended.\n{self._process.stderr.read()[-3000:]}")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.kill()
        self._process.communicate()


def measure_memory(names: list[str], shape: Shape, threads: int) -> Memory:
    """Each row alone, after one step (``states``, ``activations``, ``peak`` … in MiB)."""
    measured = {}
    for name in tqdm(names, desc=f"memory, {shape.batch} × {shape.length}", unit="row"):
        with Worker(name, shape, threads) as worker:
            worker.ask("step")
            measured[name] = worker.ask("memory")
    return measured


def groups(names: list[str], memory: Memory, limit: float) -> list[list[str]]:
    """The rows in groups that fit into ``limit`` MiB, the unit first in each."""
    result: list[list[str]] = []
    used = limit
    for name in names:
        if name == UNIT:
            continue
        if used + memory[name]["peak"] > limit:
            result.append([UNIT])
            used = memory[UNIT]["peak"]
        result[-1].append(name)
        used += memory[name]["peak"]
    return result


def measure_steps(
    names: list[str], shape: Shape, threads: int, rounds: int
) -> dict[str, list[float]]:
    """Rows that take turns: ``{row: its steps in units of the first row's, one a round}``."""
    ratios: dict[str, list[float]] = {name: [] for name in names}
    workers = {name: Worker(name, shape, threads) for name in names}
    try:
        for _ in tqdm(range(rounds), desc=" / ".join(names), unit="round"):
            seconds = {}
            for name, worker in workers.items():
                worker.ask("step")
                seconds[name] = worker.ask("step")["wall"]
            for name in names:
                ratios[name].append(seconds[name] / seconds[names[0]])
    finally:
        for worker in workers.values():
            worker.__exit__()
    return ratios


def span(ratios: list[float]) -> str:
    """Median, least and greatest."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def table(names: list[str], memory: Memory, ratios: dict[str, list[float]]) -> str:
    """A Markdown table; steps in units of the ticket's, memory beside its share of the base's."""
    lines = [
        "| | step, in steps of the ticket k=1 | saved activations, MiB | gradients + states, head "
        "aside, MiB | peak of the process, MiB | trained, head aside | its file, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    if not memory:
        lines = ["| | step, in steps of the ticket k=1 |", "|---|---:|"]
        return "\n".join([*lines, *(f"| {name} | {span(ratios[name])} |" for name in names)])
    base = memory[BASE] if BASE in memory else memory[names[0]]
    for name in names:
        kept = memory[name]

        def share(key: str, kept: Any = kept) -> str:
            return f"{kept[key]:,.1f} ({kept[key] / base[key]:.2%})"

        lines.append(
            f"| {name} | {span(ratios[name])} "
            f"| {share('activations')} | {share('states')} | {share('peak')} "
            f"| {kept['trained']:,} | {kept['saved']:,.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", action="store_true", help="no memory; two rows at a time")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), help="some of the rows, by name")
    arguments = parser.parse_args()
    names = [n for n in ROWS if n in arguments.rows or n == UNIT]
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, fp32, "
        f"{arguments.threads} threads, {arguments.rounds} rounds"
    )
    for length in arguments.lengths:
        shape = Shape(layers=arguments.layers, batch=arguments.batch, length=length)
        memory: Memory = {}
        if arguments.pairs:
            together = [[UNIT, name] for name in names if name != UNIT]
        else:
            memory = measure_memory(names, shape, arguments.threads)
            together = groups(names, memory, 0.8 * available)
        ratios = {UNIT: [1.0]}
        for group in together:
            taken = measure_steps(group, shape, arguments.threads, arguments.rounds)
            ratios.update((name, taken[name]) for name in group[1:])
        title = f"Batch {arguments.batch} × {length}, {arguments.layers} layers"
        print(f"\n{title}:\n\n{table(names, memory, ratios)}", flush=True)


if __name__ == "__main__":
    main()
