"""CPU time of a training step in half precision over that of the same step in fp32.

    python benchmarks/precision.py                                 MiniLM's shape, MRPC's lengths
    python benchmarks/precision.py --layers 2 --width 1024 --inner 4096 --heads 16

The two precisions of a row take turns, each in a process of its own with one thread. Prints
Markdown: the median, least and greatest of the rounds, and says what the processor can.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from typing import Any

import torch
from machine import machine
from rows import ROWS
from run import Worker, span
from shapes import Shape
from tqdm import tqdm

DEFAULT = [
    "full, our attention, fused Adam",
    "full, fairseq as shipped",
    "stage 1 (L1), our attention, fused Adam",
    "ticket k=1, compact",
    "ticket k=1, masked",
    "Random-5 % of the entries, compact",
]


def ratios(name: str, shape: Shape, half: str, rounds: int) -> list[float]:
    """CPU seconds of a step in ``half`` over fp32's, one a round."""
    found = []
    shapes = {precision: replace(shape, precision=precision) for precision in ("fp32", half)}
    with Worker(name, shapes["fp32"], 1) as exact, Worker(name, shapes[half], 1) as rounded:
        exact.ask("step"), rounded.ask("step")
        for _ in tqdm(range(rounds), desc=name, unit="round"):
            cpu = [worker.ask("step 4")["cpu"] for worker in (rounded, exact)]
            found.append(cpu[0] / cpu[1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, size in (("layers", 6), ("width", 384), ("inner", 1536), ("heads", 12)):
        parser.add_argument(f"--{name}", type=int, default=size, help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--halves", nargs="+", default=["bf16"], choices=["bf16", "fp16"])
    parser.add_argument("--rows", nargs="+", default=DEFAULT, choices=list(ROWS), metavar="ROW")
    parser.add_argument("--json", help="file to write")
    args = parser.parse_args()
    shape = Shape(args.layers, args.width, args.inner, args.heads, length=0)
    results: dict[str, Any] = {"machine": machine(), "shape": vars(shape), "ratios": {}}
    print("| | " + " | ".join(args.halves) + " |\n|---|" + "---:|" * len(args.halves))
    for name in args.rows:
        found = {half: ratios(name, shape, half, args.rounds) for half in args.halves}
        results["ratios"][name] = found
        print(
            f"| {name} | " + " | ".join(span(found[half]) for half in args.halves) + " |",
            flush=True,
        )
    worst = max(
        statistics.median(r) for found in results["ratios"].values() for r in found.values()
    )
    print(f"\n{json.dumps(results['machine'])}; the greatest median: {worst:.2f}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
