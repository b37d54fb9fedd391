"""A small model adapted to another domain by every method: what the benchmarks of it share."""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from machine import machine
from tqdm import tqdm

METHODS = {
    "pre-trained": None,
    "full": [],
    "Dominant-1": ["--ticket-file", "{s1}/ticket.json", "--ticket-k", "1"],
    "Dominant-3": ["--ticket-file", "{s1}/ticket.json", "--ticket-k", "3"],
    "One-shot-1": ["--ticket-file", "oneshot", "--ticket-k", "1"],
    "One-shot-3": ["--ticket-file", "oneshot", "--ticket-k", "3"],
    "Random-1": ["--ticket-file", "random", "--ticket-k", "1"],
    "Random-3": ["--ticket-file", "random", "--ticket-k", "3"],
    "BitFit": ["--ticket-file", "bitfit"],
}


def vocabulary(out: str, texts: list[str], size: int) -> Any:
    """A SentencePiece model of some files, and its words as fairseq's ``OUT/dict.txt``."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        input=texts, model_prefix=f"{out}/spm", vocab_size=size, character_coverage=0.9999
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=f"{out}/spm.model")
    with open(f"{out}/dict.txt", "w", encoding="utf-8") as file:
        file.writelines(f"{pieces.id_to_piece(i)} 1\n" for i in range(3, len(pieces)))
    return pieces


def encode(pieces: Any, source: str, target: str) -> None:
    """A file of sentences as a file of pieces."""
    with open(source, encoding="utf-8") as file:
        lines = [" ".join(pieces.encode(line.strip(), out_type=str)) for line in file]
    with open(target, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


def call(command: str, *args: str, log: str | None = None, plugin: bool = False) -> str:
    """A command of fairseq's, in this environment; what it printed."""
    environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    if not plugin:
        environment.pop("PYTHONPATH", None)
    path = os.path.join(os.path.dirname(sys.executable), command)
    done: subprocess.CompletedProcess[Any]
    if log is None:
        done = subprocess.run([path, *args], capture_output=True, text=True, env=environment)
        said = done.stdout + done.stderr
    else:
        with open(log, "w", encoding="utf-8") as file:
            done = subprocess.run([path, *args], stdout=file, stderr=file, env=environment)
        with open(log, encoding="utf-8") as file:
            said = file.read()
    if done.returncode:
        sys.exit(f"{command} {' '.join(args)}\n{said[-3000:]}")
    return said


def train(
    out: str, data: str, name: str, updates: int, lr: float, *more: str, model: list[str]
) -> None:
    """One run, whole or not at all."""
    folder = f"{out}/{name}"
    if os.path.isfile(f"{folder}/done"):
        return
    schedule = ["--lr", str(lr), "--lr-scheduler", "polynomial_decay"]
    schedule += ["--total-num-update", str(updates), "--warmup-updates", str(updates // 20)]
    os.makedirs(folder, exist_ok=True)
    call(
        "fairseq-train",
        *(f"{out}/bin-{data}", *model, *schedule, "--max-update", str(updates)),
        *("--save-dir", folder, *more),
        log=f"{folder}/log",
        plugin=True,
    )
    with open(f"{folder}/done", "w", encoding="utf-8"):
        pass


def measure(
    args: argparse.Namespace,
    model: list[str],
    pretrained_on: str,
    domain: str,
    name: str,
    score: Callable[[str, str], float],
) -> dict[str, Any]:
    """All methods, all seeds: score, trained share.

    Args:
        args: the settings of :func:`add_settings`.
        model: flags of the recipe.
        pretrained_on, domain: ``bin-…`` of the pre-training and of the adaptation.
        name: of the score.
        score: of a folder of runs and a checkpoint.
    """
    out, user_dir = args.out, ["--user-dir", args.user_dir]
    train(out, pretrained_on, "pre", args.pre_updates, args.lr_pre, "--seed", "1", model=model)
    base = f"{out}/pre/checkpoint_best.pt"
    start = ["--finetune-from-model", base]
    found: dict[str, Any] = {}
    for seed in tqdm(range(1, args.seeds + 1), desc="seeds"):
        s1, seeded = f"s1-{seed}", ["--seed", str(seed)]
        stage_1 = [*user_dir, *start, "--ticket-l1-lambda", str(args.l1_lambda)]
        train(out, domain, s1, args.updates, args.lr_full, *seeded, *stage_1, model=model)
        for method, flags in METHODS.items():
            run = f"{method}-{seed}"
            row = found.setdefault(method, {name: [], "trained": None, "delta": None})
            if flags is None:
                row[name].append(score(out, base))
                continue
            lr = args.lr_full if method == "full" else args.lr_ticket
            own = [flag.format(s1=f"{out}/{s1}") for flag in flags]
            more = [*seeded, *(user_dir if own else []), *start, *own]
            train(out, domain, run, args.updates, lr, *more, model=model)
            row[name].append(score(out, f"{out}/{run}/checkpoint_best.pt"))
            with open(f"{out}/{run}/log", encoding="utf-8") as file:
                trained = re.search(r"ticket \S+: ([\d,]+) of ([\d,]+) pre-trained", file.read())
            if trained:
                parts = [int(number.replace(",", "")) for number in trained.groups()]
                row["trained"] = parts[0] / parts[1]
                row["delta"] = delta_size(base, f"{out}/{run}")
    for method, ratio in step_times(args, model, domain, start).items():
        found[method]["step"] = ratio
    return found


def delta_size(base: str, folder: str) -> int:
    """Bytes of a run's delta."""
    path = f"{folder}/delta.safetensors"
    if not os.path.isfile(path):
        given = ["--init", base, "--tuned", f"{folder}/checkpoint_best.pt", "-o", path]
        call("fairseq-dwt", "export", *given, plugin=True)
    return os.path.getsize(path)


def step_times(
    args: argparse.Namespace, model: list[str], domain: str, start: list[str]
) -> dict[str, float]:
    """Time of an update in full fine-tuning's: the median of rounds in which all take turns."""
    kept = f"{args.out}/steps.json"
    if not os.path.isfile(kept):
        rounds = []
        for number in tqdm(range(args.rounds), desc="rounds"):
            speeds = {}
            for method, flags in METHODS.items():
                if flags is None:
                    continue
                name = f"time-{number}-{method}"
                own = [flag.format(s1=f"{args.out}/s1-1") for flag in flags]
                more = ["--user-dir", args.user_dir, *own] if own else []
                more += [*start, "--no-save", "--disable-validation", "--log-interval", "10"]
                train(args.out, domain, name, 40, 1e-4, *more, model=model)
                with open(f"{args.out}/{name}/log", encoding="utf-8") as file:
                    ups = [float(x) for x in re.findall(r'"ups": "([\d.]+)"', file.read())]
                speeds[method] = statistics.median(ups[1:])
            rounds.append({m: speeds["full"] / speed for m, speed in speeds.items()})
        medians = {m: statistics.median(r[m] for r in rounds) for m in rounds[0]}
        with open(kept, "w", encoding="utf-8") as file:
            json.dump(medians, file)
    with open(kept, encoding="utf-8") as file:
        return dict(json.load(file))


def table(result: dict[str, Any], name: str = "bleu", title: str = "BLEU") -> str:
    """Markdown."""
    text = f"| | trained | {title}, seeds | mean ± deviation | a step | delta, kB |\n"
    text += "|---|---:|---|---:|---:|---:|\n"
    for method, row in result["methods"].items():
        scores = row[name]
        trained = "" if row["trained"] is None else f"{row['trained']:.2%}"
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        cells = [
            method,
            "100 %" if method == "full" else trained,
            ", ".join(f"{score:.1f}" for score in scores),
            f"{statistics.mean(scores):.1f} ± {spread:.1f}",
            f"{row['step']:.0%}" if "step" in row else "",
            f"{row['delta'] / 1000:.0f}" if row.get("delta") else "",
        ]
        text += "| " + " | ".join(cells) + " |\n"
    return text


def add_settings(parser: argparse.ArgumentParser, out: str, **defaults: Any) -> None:
    """What the runs of an adaptation have in common."""
    parser.add_argument("--out", default=out, help="folder of data and runs [%(default)s]")
    parser.add_argument("--user-dir", default="fairseq_dwt")
    parser.add_argument("--pre-updates", type=int, default=defaults["pre_updates"])
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3, help="of step times [%(default)s]")
    parser.add_argument("--l1-lambda", type=float, default=1e-3)
    parser.add_argument("--lr-pre", type=float, default=2e-3)
    parser.add_argument("--lr-full", type=float, default=5e-4)
    parser.add_argument("--lr-ticket", type=float, default=5e-3)
    parser.add_argument("--json", help=f"file to write [OUT/{out}.json]")
    parser.add_argument("--table", metavar="FILE", help="print a file's table; run nothing")


def write(args: argparse.Namespace, methods: dict[str, Any], name: str) -> dict[str, Any]:
    """The figures and what they were measured with, as JSON."""
    left_out = ("table", "json", "out", "user_dir")
    settings = {key: value for key, value in vars(args).items() if key not in left_out}
    result = {"machine": machine(), "settings": settings, "methods": methods}
    with open(args.json or f"{args.out}/{name}.json", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    return result
