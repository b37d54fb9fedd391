"""Is a ticket worth it in translation? A small transformer, adapted to another domain.

    python benchmarks/translation.py --out translation            all of it: an hour of one core
    python benchmarks/translation.py --table docs/translation.json

Real text: the message catalogues (``.mo``) that a Debian's packages install, English to French. The
transformer is pre-trained on all packages but one, and adapted to that one (git): full
fine-tuning, tickets of L1, one-shot and random columns, BitFit; BLEU of the adapted domain's test
set by sacrebleu, through fairseq-generate, which knows nothing of tickets. Goes on where it was
stopped: what is there is not made again.
"""

from __future__ import annotations

import argparse
import gettext
import glob
import json
import os
import random
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from machine import machine
from tqdm import tqdm

#: The domain that is adapted to; in no sentence of the pre-training.
DOMAIN = "git"
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
MODEL = (
    "--task translation --arch transformer --encoder-layers 3 --decoder-layers 3 "
    "--encoder-embed-dim 128 --decoder-embed-dim 128 --encoder-ffn-embed-dim 512 "
    "--decoder-ffn-embed-dim 512 --encoder-attention-heads 4 --decoder-attention-heads 4 "
    "--share-all-embeddings --dropout 0.1 --attention-dropout 0.1 "
    "--criterion label_smoothed_cross_entropy --label-smoothing 0.1 --optimizer adam "
    "--adam-betas (0.9,0.98) --clip-norm 1.0 --max-tokens 2000 --cpu --num-workers 0 "
    "--log-format json --log-interval 50 --no-epoch-checkpoints --no-last-checkpoints"
).split()


def pairs(language: str) -> dict[str, list[tuple[str, str]]]:
    """``{package: its messages and their translations}``, of three to forty words."""
    found: dict[str, list[tuple[str, str]]] = {}
    seen = set()
    for path in sorted(glob.glob(f"/usr/share/locale/{language}/LC_MESSAGES/*.mo")):
        with open(path, "rb") as file:
            try:
                catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
            except (OSError, UnicodeDecodeError, ValueError):
                continue
        kept = []
        for source, target in catalog.items():
            if not isinstance(source, str) or source == target or source in seen:
                continue
            one, other = (" ".join(text.split()) for text in (source, target))
            if 3 <= len(one.split()) <= 40 and 1 <= len(other.split()) <= 60:
                seen.add(source)
                kept.append((one, other))
        found[os.path.basename(path)[: -len(".mo")]] = kept
    return found


def prepare(out: str, language: str) -> None:
    """Both domains as fairseq's data, of one vocabulary."""
    import sentencepiece

    if os.path.isdir(f"{out}/bin-{DOMAIN}"):
        return
    found, shuffle = pairs(language), random.Random(1)
    domain = found.pop(DOMAIN)
    others = [pair for package in found.values() for pair in package]
    os.makedirs(f"{out}/text", exist_ok=True)
    for name, rows in (("all", others), (DOMAIN, domain)):
        shuffle.shuffle(rows)
        parts = {"test": rows[:300], "valid": rows[300:600], "train": rows[600:]}
        for split, part in parts.items():
            for side, lang in ((0, "en"), (1, language)):
                with open(f"{out}/text/{name}.{split}.{lang}", "w", encoding="utf-8") as file:
                    file.writelines(row[side] + "\n" for row in part)
    sentencepiece.SentencePieceTrainer.train(
        input=[f"{out}/text/all.train.en", f"{out}/text/all.train.{language}"],
        model_prefix=f"{out}/spm",
        vocab_size=4000,
        character_coverage=0.9999,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=f"{out}/spm.model")
    with open(f"{out}/dict.txt", "w", encoding="utf-8") as file:
        file.writelines(f"{pieces.id_to_piece(i)} 1\n" for i in range(3, len(pieces)))
    for name in ("all", DOMAIN):
        for path in glob.glob(f"{out}/text/{name}.*"):
            split, lang = path.split(".")[-2:]
            with open(path, encoding="utf-8") as file:
                lines = [" ".join(pieces.encode(line.strip(), out_type=str)) for line in file]
            with open(f"{out}/text/{split}.spm-{name}.{lang}", "w", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in lines)
        prefix = {split: f"{out}/text/{split}.spm-{name}" for split in ("train", "valid", "test")}
        call(
            "fairseq-preprocess",
            *("-s", "en", "-t", language, "--destdir", f"{out}/bin-{name}"),
            *("--trainpref", prefix["train"], "--validpref", prefix["valid"]),
            *("--testpref", prefix["test"]),
            *("--srcdict", f"{out}/dict.txt", "--tgtdict", f"{out}/dict.txt"),
        )


def call(command: str, *args: str, log: str | None = None, plugin: bool = False) -> str:
    """A command of fairseq's, in this environment; what it printed."""
    environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    if not plugin:
        environment.pop("PYTHONPATH", None)
    path = os.path.join(os.path.dirname(sys.executable), command)
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
    out: str, data: str, name: str, updates: int, lr: float, *more: str, model: list[str] = MODEL
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


def bleu(out: str, checkpoint: str) -> float:
    """Of the domain's test set."""
    kept = f"{checkpoint}.bleu"
    if not os.path.isfile(kept):
        given = [f"{out}/bin-{DOMAIN}", "--path", checkpoint, "--gen-subset", "test", "--beam", "4"]
        given += ["--remove-bpe", "sentencepiece", "--scoring", "sacrebleu", "--cpu"]
        said = call("fairseq-generate", *given, "--max-tokens", "4000")
        score = re.findall(r"Generate test with beam=\d+: BLEU\S* = ([\d.]+)", said)
        with open(kept, "w", encoding="utf-8") as file:
            file.write(score[-1])
    with open(kept, encoding="utf-8") as file:
        return float(file.read())


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


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_settings(parser, "translation", pre_updates=3000)
    parser.add_argument("--language", default="fr", help="translated to [%(default)s]")
    args = parser.parse_args()
    if args.table:
        with open(args.table, encoding="utf-8") as file:
            print(table(json.load(file)))
        return
    prepare(args.out, args.language)
    methods = measure(args, MODEL, "all", DOMAIN, "bleu", bleu)
    print(table(write(args, methods, "translation")))


if __name__ == "__main__":
    main()
