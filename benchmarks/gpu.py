"""What a GPU says: its tests, then updates per second and peak memory of every row. `make gpu`.

    python benchmarks/gpu.py [--parts tests fp16-16x128 …] [--out gpu]
    python benchmarks/gpu.py --table gpu/*.json              the tables of docs/performance.md

Each part fits into eight minutes, and each row is written to OUT/PART.json when it is done, so
that an interrupted part goes on where it was; OUT/tests.log holds the tests. Rows run alone, in a
process of their own: ten updates to warm up, then three times twenty, the fastest counts. ``--cpu``
rehearses the same at a small size on a machine without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import torch
from machine import machine
from run import Worker
from shapes import Shape

ROWS = [
    "full, fairseq as shipped",
    "full, our attention, fused Adam",
    "stage 1 (L1), our attention, fused Adam",
    "ticket k=1, compact",
    "full, packed, fused Adam",
    "ticket k=1, packed",
    "ticket k=3, compact",
    "ticket k=1, masked",
    "BitFit, compact",
    "LoRA r=8, q and v (peft)",
    "LoRA r=8, all six (peft)",
]
BASE = ROWS[0]
#: Of each part, its batch: RoBERTa-large's shape, 16 × 128 or rows of MRPC's real lengths.
SPEED = {
    f"{precision}-{batch}": dict(precision=precision, length=length)
    for precision in ("fp16", "bf16")
    for batch, length in (("16x128", 128), ("MRPC", 0))
}
HERE = os.path.dirname(os.path.abspath(__file__))


def run_tests(out: str, cpu: bool) -> bool:
    """tests/gpu and tests/half, on the GPU."""
    environment = {**os.environ, "DWT_GPU": "" if cpu else "1"}
    command = [sys.executable, "-m", "pytest", "-q", "tests/gpu", "tests/half"]
    with open(os.path.join(out, "tests.log"), "w", encoding="utf-8") as log:
        ended = subprocess.run(
            command, cwd=os.path.dirname(HERE), env=environment, stdout=log, stderr=log
        )
    with open(log.name, encoding="utf-8") as file:
        lines = file.read().splitlines()
    summary = next((line for line in reversed(lines) if " in " in line), "no summary")
    write(out, "tests", {"machine": machine(), "code": ended.returncode, "summary": summary})
    print(f"tests: {summary}", flush=True)
    return ended.returncode == 0


def run_speed(part: str, out: str, cpu: bool) -> bool:
    """Every row of a part that has not been measured yet; False where one failed."""
    size: dict[str, Any] = {"device": "cuda"}
    if cpu:
        size = dict(layers=2, width=64, inner=256, heads=4, device="cpu")
    shape = Shape(**{**SPEED[part], **size})
    path = os.path.join(out, f"{part}.json")
    found: dict[str, Any] = {"machine": machine(), "shape": asdict(shape), "rows": {}}
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    for name in ROWS:
        if "updates_per_second" in found["rows"].get(name, {}):
            continue
        try:
            found["rows"][name] = measure(name, shape, quick=cpu)
        except SystemExit as error:  # the row's process ended
            found["rows"][name] = {"error": str(error)[-1500:]}
        write(out, part, found)
        print(f"{part}: {name}: {found['rows'][name]}", flush=True)
    return all("error" not in row for row in found["rows"].values())


def measure(name: str, shape: Shape, quick: bool) -> dict[str, float]:
    """Updates per second, and peak memory in MiB."""
    with Worker(name, shape, threads=1 if quick else 4) as worker:
        worker.ask("step 10")
        seconds = min(worker.ask(f"step {5 if quick else 20}")["wall"] for _ in range(3))
        return {"updates_per_second": 1 / seconds, "peak_mib": worker.ask("peak")}


def write(out: str, part: str, found: dict[str, Any]) -> None:
    """OUT/PART.json, whole or as it was."""
    path = os.path.join(out, f"{part}.json")
    with open(f"{path}.tmp", "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
    os.replace(f"{path}.tmp", path)


def tables(paths: list[str]) -> str:
    """Markdown of the parts in these files; each row beside full fine-tuning as shipped."""
    lines: list[str] = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if "rows" not in found:
            continue
        about, shape = found["machine"], found["shape"]
        batch = f"{shape['batch']} × {shape['length'] or shape['task'] + ' lengths'}"
        where = ", ".join(about["gpus"]) or about["processor"]
        lines += [
            f"{where}, {shape['precision']}, {shape['layers']} layers, {batch}, torch "
            f"{about['torch']}, {about['date']} ({about['commit']}):",
            "",
            "| | updates a second | of full | peak, MiB | of full |",
            "|---|---:|---:|---:|---:|",
        ]
        base = found["rows"][BASE]
        for name, row in found["rows"].items():
            if "error" in row or "error" in base:
                lines.append(f"| {name} | failed | | | |")
                continue
            speed, peak = row["updates_per_second"], row["peak_mib"]
            lines.append(
                f"| {name} | {speed:.2f} | {speed / base['updates_per_second']:.2f} × "
                f"| {peak:,.0f} | {peak / base['peak_mib']:.2f} |"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["tests", *SPEED], choices=["tests", *SPEED])
    parser.add_argument("--out", default="gpu", help="folder of the results [%(default)s]")
    parser.add_argument("--cpu", action="store_true", help="rehearse at a small size on the CPU")
    parser.add_argument("--table", nargs="+", metavar="JSON", help="print tables of these results")
    args = parser.parse_args()
    if args.table:
        print(tables(args.table))
        return 0
    if not args.cpu and not torch.cuda.is_available():
        sys.exit(
            "gpu.py: expected a GPU that torch can use, found none; --cpu rehearses without one"
        )
    os.makedirs(args.out, exist_ok=True)
    good = [
        run_tests(args.out, args.cpu) if part == "tests" else run_speed(part, args.out, args.cpu)
        for part in args.parts
    ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
