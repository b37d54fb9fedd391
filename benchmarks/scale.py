"""Time and memory at full size: of extract, export and apply, and of a few real updates.

    python benchmarks/scale.py                        RoBERTa-large's shape: 1.4 GB files
    python benchmarks/scale.py --vocabulary 250002    XLM-R-large's: 2.2 GB files
    python benchmarks/scale.py --updates 2            two updates of stage 1 and of stage 2 instead
    python benchmarks/scale.py --layers 2 --width 64  a first look

Weights are random and in fp32. Every command runs in a process of its own, in turns with reading
what it reads (``torch.load`` of each file): the median over the rounds, of the work alone, without
the start of Python. Memory is what the process allocated (RssAnon, sampled every 2 ms, less what it
had before the work), in units of one model; pages of a mapped file belong to the system, which
takes them back at will.

``--updates``: ``fairseq-hydra-train --config-name dwt_mrpc`` and ``ticket_mrpc`` on the CPU in
fp32, batches of 16 random pairs of about MRPC's length; the peak is the process's resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

import torch
from tqdm import tqdm

from fairseq_dwt.checkpoint import Pretrained
from fairseq_dwt.cli import main as command_line
from fairseq_dwt.model.names import ticket_matrices
from fairseq_dwt.model.roberta import save_roberta

#: What each of our commands reads, and what it does.
READS = {
    "extract": ["model.pt", "l1.pt"],
    "export": ["model.pt", "tuned.pt"],
    "apply": ["model.pt"],
}
COMMANDS = {
    "extract": ["extract", "--init", "model.pt", "--tuned", "l1.pt", "-o", "ticket.json"],
    "export": [
        "export", "--init", "model.pt", "--tuned", "tuned.pt", "--ticket", "ticket.json",
        "-o", "task.delta.safetensors",
    ],
    "apply": ["apply", "--init", "model.pt", "--delta", "task.delta.safetensors", "-o", "out.pt"],
}  # fmt: skip


def shapes(args: argparse.Namespace) -> dict[str, list[int]]:
    """The tensors of a RoBERTa of this size, by their names in a checkpoint."""
    width, inner = args.width, 4 * args.width
    found = {
        "embed_tokens.weight": [args.vocabulary, width],
        "embed_positions.weight": [514, width],
        "layernorm_embedding.weight": [width],
        "layernorm_embedding.bias": [width],
    }
    for layer in range(args.layers):
        for name, rows, columns in (
            ("self_attn.q_proj", width, width),
            ("self_attn.k_proj", width, width),
            ("self_attn.v_proj", width, width),
            ("self_attn.out_proj", width, width),
            ("fc1", inner, width),
            ("fc2", width, inner),
        ):
            found[f"layers.{layer}.{name}.weight"] = [rows, columns]
            found[f"layers.{layer}.{name}.bias"] = [rows]
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            found[f"layers.{layer}.{name}.weight"] = [width]
            found[f"layers.{layer}.{name}.bias"] = [width]
    return {f"encoder.sentence_encoder.{name}": shape for name, shape in found.items()}


def model_settings(args: argparse.Namespace) -> dict[str, int]:
    return dict(
        encoder_layers=args.layers, encoder_embed_dim=args.width,
        encoder_ffn_embed_dim=4 * args.width, encoder_attention_heads=max(1, args.width // 64),
        max_positions=512,
    )  # fmt: skip


def write_files(folder: str, args: argparse.Namespace) -> None:
    """θ0; θ after L1, where two columns of each matrix moved and all else a little; θ inside it."""
    torch.manual_seed(1)
    tensors = {name: torch.randn(shape) * 0.02 for name, shape in shapes(args).items()}
    model = model_settings(args)
    task = {"_name": "sentence_prediction", "num_classes": 2, "init_token": 0, "separator_token": 2}
    save_roberta(os.path.join(folder, "model.pt"), tensors, model, task)
    matrices = ticket_matrices({name: tensor.shape for name, tensor in tensors.items()})
    for matrix in matrices:
        tensors[matrix.weight][:, [3, matrix.in_features - 2]] += 1e-3
    heads = {"dense": [args.width] * 2, "out_proj": [2, args.width]}
    head = {
        f"classification_heads.sentence_classification_head.{name}.{what}": torch.zeros(size)
        for name, shape in heads.items()
        for what, size in (("weight", shape), ("bias", shape[:1]))
    }
    names = ["0", "1"]
    save_roberta(os.path.join(folder, "tuned.pt"), {**tensors, **head}, model, task, labels=names)
    for matrix in matrices:
        tensors[matrix.weight].add_(torch.randn(matrix.out_features, matrix.in_features) * 1e-6)
    save_roberta(os.path.join(folder, "l1.pt"), {**tensors, **head}, model, task, labels=names)


def measured(work: Callable[[], None]) -> dict[str, float]:
    """Seconds that the work took, and bytes that it allocated at most."""
    before, peak, done = anonymous(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    return {"seconds": seconds, "bytes": max(peak - before, 0)}


def anonymous() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


def read_all(names: list[str]) -> None:
    kept = [torch.load(name, weights_only=True) for name in names]
    assert kept


def run_alone(what: str, folder: str) -> dict[str, float]:
    command = [sys.executable, os.path.abspath(__file__), "--alone", what]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def alone(what: str) -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if what.startswith("read "):
        result = measured(lambda: read_all(READS[what[5:]]))
    else:
        result = measured(lambda: sys.exit(1) if command_line(COMMANDS[what]) else None)
    print(json.dumps(result))


def write_data(folder: str, vocabulary: int) -> None:
    """MRPC's data-bin of random tokens, of the largest dictionary that the model has room for."""
    from fairseq.data import Dictionary

    from fairseq_dwt.glue.binarize import preprocess_task
    from fairseq_dwt.glue.bpe import Encoder
    from fairseq_dwt.glue.suite import glue_task

    task, pieces = glue_task("mrpc"), [f"p{i}" for i in range(vocabulary - 5)]
    dictionary = Dictionary()
    for piece in pieces:  # beside them <s>, <pad>, </s>, <unk> and the task's <mask>
        dictionary.add_symbol(piece)
    os.makedirs(os.path.join(folder, "glue", task.folder))
    for split in task.splits:
        rows = [list(split.table.columns)]
        rows += [[str(i % 2), "a", "b", "one", "two"] for i in range(64)]
        with open(os.path.join(folder, "glue", task.folder, split.file), "w") as file:
            file.writelines("\t".join(row) + "\n" for row in rows)
    draw = random.Random(1)
    encoder = Encoder(
        lambda texts: [draw.sample(range(len(pieces)), draw.randint(15, 35)) for _ in texts], pieces
    )
    preprocess_task(task, os.path.join(folder, "glue"), os.path.join(folder, "data-bin"), encoder,
                    dictionary)  # fmt: skip


def write_pretrained(folder: str, args: argparse.Namespace) -> None:
    """Random weights with a language model's head, in fp16, as pre-trained files are."""
    width, head = args.width, "encoder.lm_head."
    every = {
        **shapes(args),
        head + "dense.weight": [width, width],
        head + "dense.bias": [width],
        head + "layer_norm.weight": [width],
        head + "layer_norm.bias": [width],
        head + "bias": [args.vocabulary],
    }
    tensors = {name: (torch.randn(shape) * 0.02).half() for name, shape in every.items()}
    tensors[head + "weight"] = tensors["encoder.sentence_encoder.embed_tokens.weight"]
    task = {"_name": "masked_lm"}
    save_roberta(os.path.join(folder, "model.pt"), tensors, model_settings(args), task)


def updates(folder: str, args: argparse.Namespace) -> None:
    write_pretrained(folder, args)
    write_data(folder, args.vocabulary)
    print("| | updates | peak memory |\n|---|---|---|")
    for title, config, more in (
        ("stage 1", "dwt_mrpc", []),
        ("stage 2", "ticket_mrpc", ["optimizer.ticket=random", "optimizer.k=1"]),
    ):
        command = [
            os.path.join(os.path.dirname(sys.executable), "fairseq-hydra-train"),
            "--config-name", config, "checkpoint.finetune_from_model=model.pt", "common.cpu=true",
            "common.fp16=false", f"optimization.max_update={args.updates}", "common.log_interval=1",
            "lr_scheduler.warmup_updates=0", "dataset.disable_validation=true",
            "checkpoint.no_save=true", f"hydra.run.dir={config}", *more,
        ]  # fmt: skip
        program = (
            "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], "
            "stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); print(done.stdout)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, *command], cwd=folder, stdout=subprocess.PIPE, text=True
        )
        peak, _, log = done.stdout.partition("\n")
        taken = re.findall(r'num_updates": "(\d+)"', log)
        if not taken:
            sys.exit(log[-3000:])
        print(f"| {title} | {taken[-1]} | {int(peak) * 1024 / 1e9:.1f} GB |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=50265)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, help="so many updates of each stage instead")
    parser.add_argument("--folder", help="for the files, 4 times a model [a temporary one]")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        return alone(args.alone)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        if args.updates:
            return updates(folder, args)
        write_files(folder, args)
        size = os.path.getsize(os.path.join(folder, "model.pt"))
        model = Pretrained(os.path.join(folder, "model.pt"))
        print(f"{model.num_parameters:,} parameters, {size / 1e9:.2f} GB a file\n")
        found: dict[str, list[dict[str, float]]] = {}
        for _ in tqdm(range(args.rounds), desc="rounds"):
            for name in COMMANDS:
                for what in (f"read {name}", name):
                    found.setdefault(what, []).append(run_alone(what, folder))
    print("| command | time / reading its files | memory / one model | torch.load of its files |")
    print("|---|---|---|---|")
    for name in COMMANDS:
        ratios = [a["seconds"] / b["seconds"] for a, b in zip(found[name], found[f"read {name}"])]
        ours, torchs = (
            max(run["bytes"] for run in found[what]) / size for what in (name, f"read {name}")
        )
        print(
            f"| {name} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {ours:.2f} | {torchs:.2f} |"
        )


if __name__ == "__main__":
    main()
