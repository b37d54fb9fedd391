"""The whole method on embedded data, offline: ``make demo``.

Text from our own grammar (``grammar.py``), a tiny RoBERTa pre-trained on it (``pretrain.py``), then
the commands that a user would type: preprocess, stage 1, stage 2 and its controls, report. Killed
and started again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import List, Sequence

from tqdm import tqdm

from fairseq_dwt import cli
from fairseq_dwt.report.runs import read_run

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "model")
GLUE = os.path.dirname(HERE)

#: Where the ticket is found, and where it is used.
SOURCE, TARGETS = "SST-2", ("CoLA", "RTE")
UPDATES = 500
TICKET_LR = "5e-3"


def main() -> int:
    """Run the demo. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="demo", help="folder for data, runs and report")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time [%(default)s]")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    started = time.time()

    print("1. Text of our own grammar, in GLUE's layout; preprocessed as real GLUE is")
    if not os.path.isdir(os.path.join(args.out, "data-bin", "RTE")):
        _run([os.path.join(HERE, "grammar.py"), "--out", "glue_data"], args.out)
        _run(
            [os.path.join(GLUE, "preprocess.py"), "--glue-dir", "glue_data", "--task"]
            + [SOURCE, *TARGETS]
            + ["--bpe", "sentencepiece", "--out", "data-bin", "--overwrite"]
            + ["--sentencepiece-model", os.path.join(MODEL, "sentencepiece.model")]
            + ["--dict", os.path.join(MODEL, "dict.txt")],
            args.out,
        )

    print(f"\n2. Stage 1: fine-tune on {SOURCE} with an L1 pull toward the pre-trained weights;")
    print("   beside it, on the other tasks, the baselines that need no ticket")
    # A model this small has larger gradients than RoBERTa-large: λ is smaller, rates are larger.
    runs = [_command("dwt_sst_2", SOURCE, "1e-3", "criterion.l1_lambda=1e-4")]
    runs += [_command(f"full_{task.lower()}", task, "7e-4") for task in TARGETS]
    runs += [_command(f"bitfit_{task.lower()}", task, TICKET_LR) for task in TARGETS]
    _train(runs, args.out, args.jobs)
    ticket = "runs/dwt_sst_2/ticket.json"
    print()
    cli.main(["show", os.path.join(args.out, ticket)])

    print("\n3. Stage 2: train inside the ticket on the other tasks, and inside a random one")
    runs = []
    for task in TARGETS:
        for method, setting in (("ticket", "ticket"), ("random", "like")):
            given = [f"optimizer.{setting}={ticket}", "optimizer.k=1"]
            runs.append(_command(f"{method}_{task.lower()}", task, TICKET_LR, *given))
    _train(runs, args.out, args.jobs)

    print("\n4. What was measured")
    report = os.path.join(args.out, "report")
    code = cli.main(["report", os.path.join(args.out, "runs"), "-o", report])
    print(f"{time.time() - started:.0f} s in all. Open {report}/index.html")
    return code


def _command(config: str, task: str, lr: str, *overrides: str) -> List[str]:
    return [
        *("-m", "fairseq_cli.hydra_train", "--config-name", config, f"task.data=data-bin/{task}"),
        f"checkpoint.finetune_from_model={os.path.join(MODEL, 'model.pt')}",
        *("dataset.batch_size=32", f"optimization.max_update={UPDATES}"),
        *(f"lr_scheduler.warmup_updates={round(0.06 * UPDATES)}", f"optimization.lr=[{lr}]"),
        *("model.dropout=0", "model.attention_dropout=0", "model.pooler_dropout=0"),
        f"hydra.run.dir=runs/{config}",
        *overrides,
    ]


def _run(command: Sequence[str], cwd: str) -> None:
    print("   $ python " + " ".join(map(shlex.quote, command)))
    subprocess.run([sys.executable, *command], cwd=cwd, check=True)


def _train(commands: Sequence[Sequence[str]], cwd: str, jobs: int) -> None:
    """Run the commands, some at a time; a run that has finished before is not run again."""

    def one(command: Sequence[str]) -> None:
        folder = next(part[len("hydra.run.dir=") :] for part in command if "hydra.run.dir" in part)
        folder = os.path.join(cwd, folder)
        if not (os.path.isdir(os.path.join(folder, ".hydra")) and read_run(folder).finished):
            result = subprocess.run(
                [sys.executable, *command], cwd=cwd, capture_output=True, text=True, check=False
            )
            if result.returncode != 0:
                raise SystemExit(f"{shlex.join(command)}\n{result.stderr[-3000:]}")
        run = read_run(folder)
        bar.write(f"   {run.method:<11} {run.task:<6} {run.metric} {run.best:.1f}")
        bar.update()

    for command in commands:
        print("   $ python " + " ".join(map(shlex.quote, command)), flush=True)
    with tqdm(total=len(commands), unit="run", desc="   training") as bar:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(one, commands))


if __name__ == "__main__":
    sys.exit(main())
