"""Table 2 at convergence on a small encoder: every method, to its last epoch.

    python benchmarks/table2.py --model M/model.pt --hf hf --data data-bin --out table2 --tasks MRPC
    python benchmarks/table2.py --model M/model.pt --data data-bin --out curve --tasks SST-2 \\
      --updates 750 --seeds 1 --methods full Dominant-1 One-shot-1 Random-1 Dominant-3 …
    python benchmarks/table2_tables.py table2/table2.json

``--hf``, the model as ``fairseq-dwt export-hf`` writes it, adds LoRA of a ticket's size, by peft.
The ticket is found on SST-2 (one stage 1, 750 updates) and used on the other tasks, with the task's
own epochs, early stopping and warm-up. Learning rates are searched on seed 1, until the best is not
at the edge of what was tried, and then fixed; ``--rates-of MRPC`` takes those of another task. Two
runs at a time, of one thread each; one that was stopped goes on from its last epoch. What is
finished is in OUT/table2.json after every run, and what is there is not run again: the file alone,
copied to another machine, goes on from there, inside the same ticket, which it keeps.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from machine import machine
from table2_tables import KS, best_rate, key, table
from tqdm import tqdm

from fairseq_dwt.files import replacing
from fairseq_dwt.glue.suite import glue_task
from fairseq_dwt.report.runs import Run, find_runs, read_run
from fairseq_dwt.run.folder import CONFIG
from fairseq_dwt.ticket import Ticket

TICKETS = {
    "Dominant": ("ticket", "optimizer.ticket=T"),
    "Random": ("random", "optimizer.like=T"),
    "One-shot": ("ticket", "optimizer.ticket=oneshot"),
    "Slice": ("ticket", "optimizer.ticket=slice", "optimizer.move_every=100"),
    "Weight-norm": ("ticket", "optimizer.ticket=weight_norm"),
}
#: ``{method: (its config, its settings …)}``; ``T`` is L1's ticket, ``B`` its other end.
METHODS = {"full": ("full",), "BitFit": ("bitfit",), "Bottom-1": ("ticket", "optimizer.ticket=B")}
METHODS |= {
    f"{name}-{k}": (*settings, f"optimizer.k={k}") for k in KS for name, settings in TICKETS.items()
}
OF_TABLE_2 = (
    "full Dominant-1 Random-1 Dominant-3 Random-3 One-shot-1 BitFit Slice-1 One-shot-3".split()
)
#: Where a ticket's own number of columns would be fewer.
METHODS |= {f"Random-{k}": ("random", f"optimizer.k={k}") for k in (10, 30, 100)}
LORA = "LoRA-2"
KEEPING = threading.Lock()
#: Learning rates, and the two of them that a search begins with: the more trains, the smaller.
GRID = ("3e-5", "1e-4", "3e-4", "1e-3", "3e-3", "1e-2", "3e-2", "1e-1")
GRID_OF_ALL = ("1e-5", "2e-5", "5e-5", "1e-4", "2e-4", "5e-4")
BEGIN = {"full": ("5e-5", "1e-4"), "10": ("3e-4", "1e-3"), "30": ("3e-4", "1e-3")}
BEGIN["100"] = ("1e-4", "3e-4")


def launch(args: argparse.Namespace, config: str, data: str, folder: str, *more: str) -> None:
    """One run of fairseq-hydra-train, to its end."""
    if os.path.isfile(f"{folder}/{CONFIG}") and read_run(folder).finished:
        return
    given = [f"task.data={args.data}/{data}", f"checkpoint.finetune_from_model={args.model}"]
    given += [f"hydra.run.dir={folder}", *more]
    call(args, folder, "fairseq-hydra-train", "--config-name", config, *given)


def call(args: argparse.Namespace, folder: str, program: str, *given: str) -> None:
    """A process of one thread; what it said is kept in the folder, and told where it fails."""
    os.makedirs(folder, exist_ok=True)
    program = os.path.join(os.path.dirname(sys.executable), program)
    with open(f"{folder}/said", "w", encoding="utf-8") as said:
        done = subprocess.run(
            ["nice", "-n", str(args.nice), program, *given],
            stdout=said,
            stderr=said,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    if done.returncode:
        with open(f"{folder}/said", encoding="utf-8") as said:
            sys.exit(f"{folder}: {said.read()[-2000:]}")


def lora(args: argparse.Namespace, task: str, folder: str, rate: str, seed: int) -> None:
    """One run of LoRA; its file lies beside the methods' folders."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lora.py")
    given = ["--hf", args.hf, "--data", f"{args.data}/{task}", "--task", task, "--out", folder]
    given += ["--rate", rate, "--seed", str(seed)]
    given += ["--updates", str(args.updates)] if args.updates else []
    call(args, f"{folder}/{LORA}/lr{rate}_seed{seed}", "python", script, *given)


def grid(method: str) -> Sequence[str]:
    """The learning rates that a method may have."""
    return GRID_OF_ALL if method == "full" else GRID


def next_rates(method: str, scores: Mapping[str, float]) -> list[str]:
    """Rates to try on seed 1, until the best has been tried with both of its neighbours.

    >>> next_rates("Random-1", {"1e-3": 75.2, "3e-3": 76.8})
    ['1e-2']
    """
    if not scores:
        return list(BEGIN.get(method.rpartition("-")[2], ("1e-3", "3e-3")))
    all_of_them = grid(method)
    best = [n for n, rate in enumerate(all_of_them) if scores.get(rate) == max(scores.values())]
    beside = {n + step for n in best for step in (-1, 1)}
    return [rate for n, rate in enumerate(all_of_them) if n in beside and rate not in scores]


def kept(args: argparse.Namespace) -> dict[str, Any]:
    """OUT/table2.json, of this machine or of the one it was copied from."""
    if not os.path.isfile(f"{args.out}/table2.json"):
        return {"runs": []}
    with open(f"{args.out}/table2.json", encoding="utf-8") as file:
        return json.load(file)


def tried(runs: Sequence[Mapping[str, Any]], task: str, method: str) -> dict[str, float]:
    """The best validation of seed 1 at each rate that has been tried."""
    best = {key(run): run["best"] for run in runs}
    asked = {rate: (task, method.lower(), float(rate), 1) for rate in grid(method)}
    return {rate: best[one] for rate, one in asked.items() if one in best}


def run_all(args: argparse.Namespace) -> None:
    """Task by task: the search, then seed after seed; so that what is there is comparable."""
    stage_1 = os.path.abspath(f"{args.out}/runs/stage-1")
    short = ["task.ranked_columns=100", "optimization.max_update=750", "optimization.max_epoch=1"]
    short += ["lr_scheduler.warmup_updates=45", "optimization.lr=[3e-5]"]
    ticket = kept(args).get("ticket")
    if ticket is None or "Bottom-1" in args.methods:
        launch(args, "dwt_sst_2", "SST-2", stage_1, *short)
    if ticket is not None:  # found anew on another machine it is not the same to the last column
        Ticket.loads(ticket).save(f"{stage_1}/ticket.json")
    other_end = f"{stage_1}/bottom/bottom.json"
    tickets = {"=T": f"={stage_1}/ticket.json", "=B": f"={other_end}"}
    if "Bottom-1" in args.methods and not os.path.isfile(other_end):
        given = ["--init", args.model, "--tuned", f"{stage_1}/checkpoint_last.pt", "-k", "1"]
        call(args, f"{stage_1}/bottom", "fairseq-dwt", "bottom", *given, "-o", other_end)
    for task in args.tasks:
        folder = os.path.abspath(f"{args.out}/runs/{task}")

        def one(method: str, rate: str, seed: int, task: str = task, folder: str = folder) -> None:
            if (task, method.lower(), float(rate), seed) in {
                key(run) for run in kept(args)["runs"]
            }:
                return
            if method == LORA:
                lora(args, task, folder, rate, seed)
                return keep(args)
            config, *settings = METHODS[method]
            own = [s[:-2] + tickets.get(s[-2:], s[-2:]) for s in settings]
            name = f"{config}_{glue_task(task).name}"
            if args.updates:
                own += [f"optimization.max_update={args.updates}"]
                own += [f"lr_scheduler.warmup_updates={round(0.06 * args.updates)}"]
                own += [f"dataset.validate_interval_updates={args.updates // 3}"]
            run = f"{folder}/{method}/lr{rate}_seed{seed}"
            launch(args, name, task, run, *own, f"optimization.lr=[{rate}]", f"common.seed={seed}")
            for path in glob.glob(f"{run}/checkpoint_*.pt"):
                os.remove(path)  # predictions, log and ticket stay
            keep(args)

        def search(method: str, task: str = task) -> None:
            while rates := next_rates(method, tried(kept(args)["runs"], task, method)):
                for rate in rates:
                    one(method, rate, 1)

        def repeat(method: str, seed: int, task: str = task) -> None:
            runs = [run for run in kept(args)["runs"] if key(run)[1] == method.lower()]
            runs = [run for run in runs if run["task"] == (args.rates_of or task)]
            if not runs:
                sys.exit(f"--rates-of {args.rates_of}: expected runs of {method} there, found none")
            best = best_rate(runs)
            one(method, next(rate for rate in grid(method) if float(rate) == best), seed)

        methods = [*([LORA] if args.hf else []), *args.methods]
        if args.rates_of is None:
            in_all(args, f"{task}, rates", search, [(method,) for method in methods])
        again = [(method, seed) for seed in range(1, args.seeds + 1) for method in methods]
        in_all(args, f"{task}, seeds", repeat, again)


def in_all(args: argparse.Namespace, title: str, work: Callable[..., None], on: list[Any]) -> None:
    """The work on each of them, so many at a time."""
    with ThreadPoolExecutor(args.jobs) as pool:
        done = [pool.submit(work, *given) for given in on]
        try:
            for finished in tqdm(as_completed(done), title, len(done)):
                finished.result()
        finally:
            for waiting in done:
                waiting.cancel()


def facts(run: Run) -> dict[str, Any]:
    """What is kept of a run, under the name that was asked for: a ticket may have fewer columns."""
    asked = os.path.basename(os.path.dirname(run.folder))
    return {
        "method": run.method if run.method.lower() == asked.lower() else asked,
        "task": run.task,
        "lr": run.lr,
        "seed": run.seed,
        "trained": run.trained,
        "metric": run.metric,
        "best": run.best or 0.0,
        "from_predictions": run.recomputed,
        "validations": run.validations,
    }


def keep(args: argparse.Namespace) -> None:
    """All finished runs, and the ticket that they train inside of, as JSON."""
    with KEEPING:
        found = [facts(run) for run in finished_runs(args)]
        for path in sorted(glob.glob(f"{args.out}/runs/**/*.lora.json", recursive=True)):
            with open(path, encoding="utf-8") as file:
                found.append(json.load(file))
        merged = {key(run): run for run in [*kept(args)["runs"], *found]}
        with open(f"{args.out}/runs/stage-1/ticket.json", encoding="utf-8") as file:
            ticket = file.read()
        result = {"machine": machine(), "ticket": ticket, "runs": list(merged.values())}
        with replacing(f"{args.out}/table2.json") as new, open(new, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


def finished_runs(args: argparse.Namespace) -> list[Run]:
    """Those in OUT/runs, stage 1 aside."""
    runs = find_runs([f"{args.out}/runs"])
    return [run for run in runs if run.finished and not run.is_stage_1]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="pre-trained model.pt")
    parser.add_argument("--hf", help="the model as a Hugging Face folder, for LoRA")
    parser.add_argument("--data", required=True, help="folder of the tasks' binarised data")
    parser.add_argument("--out", default="table2", help="folder of the runs [%(default)s]")
    parser.add_argument("--tasks", nargs="+", default=["MRPC", "RTE", "CoLA", "STS-B"])
    parser.add_argument(
        "--methods", nargs="+", default=OF_TABLE_2, metavar="METHOD", choices=list(METHODS)
    )
    parser.add_argument("--updates", type=int, help="of each run [the task's own]")
    parser.add_argument("--rates-of", metavar="TASK", help="no search: rates found on it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time [%(default)s]")
    parser.add_argument("--nice", type=int, default=19)
    args = parser.parse_args()
    args.model, args.data = os.path.abspath(args.model), os.path.abspath(args.data)
    args.hf = args.hf and os.path.abspath(args.hf)
    run_all(args)
    print(table({"runs": kept(args)["runs"]}))


if __name__ == "__main__":
    main()
