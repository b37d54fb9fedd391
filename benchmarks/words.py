"""What a step costs on real batches: rows of a task's own lengths, in random order, 16 at a time.

    python benchmarks/words.py                        RoBERTa-large's widths, 2 layers, four tasks
    python benchmarks/words.py --layers 4 --rounds 5 --json words.json
    python benchmarks/words.py --table words.json     the tables of a file again
    python benchmarks/words.py --base COMMIT          this tree's steps beside those of a commit

All rows live in one process and take turns on the same batches: every round is one step of each row
on each batch of a task; CPU seconds of the process and seconds on the wall. A figure is the median
over rounds of a ratio within a round. ``lengths.json`` has each task's lengths
(``padding.py data-bin/CoLA …`` makes it). peft's rows pad to a batch's longest, as its users do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from dataclasses import replace
from typing import Any

import torch
from machine import machine
from rows import ROWS
from run import TREE, Worker
from shapes import PADDING, Row, Shape, batches
from torch import Tensor
from tqdm import tqdm

#: The packed ticket, with which all is compared, as with the first of the rows.
UNIT = "ticket k=1, packed"
#: Which of a step's two times.
CPU, WALL = 0, 1
NAMES = (
    "full, fairseq as shipped",
    "full, our attention, fused Adam",
    "full, packed, fused Adam",
    "stage 1 (L1), packed, fused Adam",
    "ticket k=1, compact",
    "ticket k=1, packed",
    "LoRA r=8, q and v (peft)",
    "LoRA r=8, all six (peft)",
    "evaluation, fairseq as shipped",
    "evaluation, packed",
)
TASKS = ("MRPC", "CoLA", "QNLI", "SST-2")


def measure(rows: dict[str, Row], shape: Shape, number: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds of each row's steps on ``number`` batches, ``{row: [cpu, wall]}`` a round."""
    given = batches(shape, number)
    for row in rows.values():  # warm up
        row.step(*given[0])
    found = []
    for _ in tqdm(range(rounds), desc=shape.task, unit="round"):
        times = {}
        for name, row in rows.items():
            cpu, wall = time.process_time(), time.perf_counter()
            for batch in given:
                row.step(*batch)
            times[name] = [time.process_time() - cpu, time.perf_counter() - wall]
        found.append(times)
    return found


def equal_words(shape: Shape, mean: int, padding: float) -> tuple[Tensor, Tensor]:
    """A batch of rows of ``mean`` tokens on average; this share of it is padding."""
    longest = round(mean / (1 - padding))
    power = (longest - 4) / (mean - 4) - 1  # of which the mean is as asked
    places = (torch.arange(shape.batch) + 0.5) / shape.batch
    lengths = (4 + (longest - 4) * places**power).round().long()
    lengths[-1] = longest
    lengths[shape.batch // 2] += mean * shape.batch - int(lengths.sum())
    ((tokens, labels),) = batches(replace(shape, length=longest))
    tokens[torch.arange(longest) >= lengths[:, None]] = PADDING
    return tokens, labels


def against_padding(row: Row, shape: Shape, mean: int, rounds: int) -> dict[str, float]:
    """CPU seconds of a step with as many words and more padding, in those of a step without any."""
    given = {p: equal_words(shape, mean, p) for p in (0.0, 0.2, 0.4, 0.5, 0.6)}
    found: dict[float, list[float]] = {p: [] for p in given}
    for _ in range(rounds + 1):
        for p, batch in given.items():
            cpu = time.process_time()
            row.step(*batch)
            found[p].append(time.process_time() - cpu)
    kept = {p: times[1:] for p, times in found.items()}  # the first warms up
    ratios = {p: [a / b for a, b in zip(times, kept[0.0])] for p, times in kept.items()}
    return {f"{p:.0%}": statistics.median(each) for p, each in ratios.items()}


def against_commit(
    commit: str, names: list[str], shape: Shape, args: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """CPU seconds of a commit's steps over this tree's, ``{task: {row: one a round}}``.

    Each tree's row in a process of its own, in turns; a round is ``args.number`` batches.
    """
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as base:
        files = subprocess.run(["git", "-C", TREE, "archive", commit], check=True, stdout=-1).stdout
        subprocess.run(["tar", "-x", "-C", base], check=True, input=files)
        for task in args.tasks:
            of_task, found[task] = replace(shape, task=task), {}
            for name in tqdm(names, desc=task, unit="row"):
                ratios = []
                with Worker(name, of_task, args.threads) as here:
                    with Worker(name, of_task, args.threads, base) as there:
                        for _ in range(args.rounds + 1):
                            cpu = [w.ask(f"step {args.number}")["cpu"] for w in (there, here)]
                            ratios.append(cpu[0] / cpu[1])
                found[task][name] = ratios[1:]  # the first warms up
    return found


def beside_commit(commit: str, found: dict[str, dict[str, list[float]]]) -> str:
    """Markdown of :func:`against_commit`."""
    text = f"| times as fast as {commit}, CPU time | {' | '.join(found)} | mean |\n"
    text += "|---" + "|---:" * (len(found) + 1) + "|\n"
    for name in next(iter(found.values())):
        ratios = [statistics.median(of_task[name]) for of_task in found.values()]
        cells = [f"{ratio:.2f}" for ratio in [*ratios, statistics.mean(ratios)]]
        text += f"| {name} | {' | '.join(cells)} |\n"
    return text


def tables(result: dict[str, Any]) -> str:
    """Markdown: each row beside fairseq's full fine-tuning, and beside a packed ticket."""
    told = result["machine"]
    text = (
        f"{told['processor']} ({', '.join(told['instructions']) or 'no vector extensions known'}), "
        f"{result['threads']} threads, torch {told['torch']}, commit {told['commit']}, "
        f"{told['date']}; {result['layers']} layers of width {result['width']}, fp32, "
        f"{result['number']} batches of {result['batch']} a task, {result['rounds']} rounds\n"
    )
    tasks = list(result["tasks"].values())
    text += (
        f"\n| times as fast as fairseq's full fine-tuning, CPU time | {' | '.join(result['tasks'])} | "
        "mean | mean, wall time | a packed ticket beside it, mean CPU time |\n"
    )
    text += "|---" + "|---:" * (len(tasks) + 3) + "|\n"
    for name in result["rows"]:
        each = [_times(rounds, NAMES[0], name, CPU) for rounds in tasks]
        ratios = [
            *each,
            statistics.mean(each),
            statistics.mean(_times(rounds, NAMES[0], name, WALL) for rounds in tasks),
            statistics.mean(1 / _times(rounds, UNIT, name, CPU) for rounds in tasks),
        ]
        text += f"| {name} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |\n"
    for mean, found in result.get("padding", {}).items():
        told = ", ".join(f"{ratio:.2f} with {share}" for share, ratio in found.items())
        text += (
            f"\nA packed ticket's step on rows of {mean} tokens on average, by padding: {told}.\n"
        )
    return text


def _times(rounds: list[dict[str, Any]], unit: str, name: str, clock: int) -> float:
    """How many times as fast as ``unit`` a row is: the median of the rounds."""
    return statistics.median(r[unit][clock] / r[name][clock] for r in rounds)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--number", type=int, default=4, help="batches a task [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--rows", nargs="+", default=list(NAMES))
    parser.add_argument("--json", default="words.json", help="file to write [%(default)s]")
    parser.add_argument("--base", metavar="COMMIT", help="compare with this commit")
    parser.add_argument("--table", metavar="FILE", help="print the tables of a file; run nothing")
    args = parser.parse_args()
    if args.table:
        with open(args.table, encoding="utf-8") as file:
            print(tables(json.load(file)))
        return
    torch.set_num_threads(args.threads)
    width = args.width
    sizes = {"layers": args.layers, "width": width, "inner": 4 * width, "heads": width // 64}
    shape = Shape(**sizes, batch=args.batch, length=0)
    if args.base:
        found = against_commit(args.base, args.rows, shape, args)
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "base": args.base, **sizes, "tasks": found}, file)
        print(beside_commit(args.base, found))
        return
    rows = {name: ROWS[name](shape) for name in tqdm(args.rows, desc="models")}
    result: dict[str, Any] = {
        **{"machine": machine(), "threads": args.threads, "batch": args.batch, "rows": args.rows},
        **{"number": args.number, "rounds": args.rounds, **sizes, "tasks": {}},
    }
    for task in args.tasks:
        of_task = Shape(**sizes, batch=args.batch, length=0, task=task)
        result["tasks"][task] = measure(rows, of_task, args.number, args.rounds)
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file)
    if UNIT in rows:
        padding = {str(m): against_padding(rows[UNIT], shape, m, args.rounds) for m in (20, 40, 80)}
        result["padding"] = padding
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file)
    print(tables(result))


if __name__ == "__main__":
    main()
