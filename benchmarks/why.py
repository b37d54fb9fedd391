"""What names the columns of tickets of L1? ``fairseq-dwt explain`` on some tasks, as a table.

    python benchmarks/why.py --init model.pt --data data-bin --l1 SST-2=T.json QNLI=U.json \\
      --again SST-2=T2.json --runs "language model=lm/s1-1" --out why
    python benchmarks/why.py --table docs/why.json

``--again`` names L1's ticket of another seed, the most that a reason can be asked to agree by;
``--runs`` the folder of a recipe's stage 1, whose checkpoint keeps its settings.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from typing import Any

from machine import machine

from fairseq_dwt.cli import main as fairseq_dwt
from fairseq_dwt.glue.suite import glue_task
from fairseq_dwt.ticket import load_ticket
from fairseq_dwt.ticket.similarity import similarity

#: What no reason can be asked to surpass.
AGAIN = "L1, another seed"


def explain(args: argparse.Namespace, name: str, given: list[str]) -> dict[str, Any]:
    """The similarities that the command finds."""
    out = f"{args.out}/{name.replace(' ', '_')}"
    with contextlib.redirect_stdout(io.StringIO()):
        code = fairseq_dwt(["explain", *given, "--batches", str(args.batches), "-o", out])
    if code:
        raise SystemExit(code)
    with open(f"{out}/report.json", encoding="utf-8") as file:
        overlaps = json.load(file)["overlaps"]
    return {
        k: {
            reason: {"jaccard": one["per_matrix"], "chance": one["chance"], "kinds": one["by_kind"]}
            for reason, one in by_reason.items()
        }
        for k, by_reason in overlaps.items()
    }


def of_task(args: argparse.Namespace, task: str, ticket: str) -> dict[str, Any]:
    """A GLUE task's."""
    settings = [f"task.data={args.data}/{task}", f"checkpoint.finetune_from_model={args.init}"]
    given = ["--config-name", f"ticket_{glue_task(task).name}", *settings, "common.cpu=true"]
    found = explain(args, task, [*given, "--ticket", ticket])
    if task in args.again:
        one, other = (load_ticket(p).as_columns(p) for p in (ticket, args.again[task]))
        for k in found:
            agree = similarity(one.top(int(k)), other.top(int(k)))
            found[k][AGAIN] = {
                "jaccard": agree.per_matrix,
                "chance": agree.chance,
                "kinds": agree.by_kind,
            }
    return found


def table(result: dict[str, Any]) -> str:
    """Markdown: reasons by tasks, k = 1 and k = 3."""
    tasks = result["tasks"]
    text = "| reason | " + " | ".join(tasks) + " |\n|---|" + "---:|" * len(tasks) + "\n"
    told = dict.fromkeys(r for by_k in tasks.values() for one in by_k.values() for r in one)
    for reason in told:
        cells = [
            ", ".join(f"{one[reason]['jaccard']:.2f}" for one in by_k.values() if reason in one)
            for by_k in tasks.values()
        ]
        text += f"| {reason} | " + " | ".join(cells) + " |\n"
    return text


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--init", help="pre-trained model.pt")
    parser.add_argument("--data", help="folder of the tasks' binarised data")
    parser.add_argument(
        "--l1", nargs="+", default=[], metavar="TASK=TICKET", help="tickets of stage 1"
    )
    parser.add_argument("--again", nargs="+", default=[], metavar="TASK=TICKET")
    parser.add_argument("--runs", nargs="+", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--batches", type=int, default=32, help="[%(default)s]")
    parser.add_argument("--out", default="why", help="folder of the pages [%(default)s]")
    parser.add_argument("--table", metavar="FILE", help="print a file's table; run nothing")
    args = parser.parse_args()
    if args.table:
        with open(args.table, encoding="utf-8") as file:
            print(table(json.load(file)))
        return
    tickets, args.again, runs = (
        dict(pair.split("=", 1) for pair in pairs) for pairs in (args.l1, args.again, args.runs)
    )
    tasks = {task: of_task(args, task, ticket) for task, ticket in tickets.items()}
    for name, folder in runs.items():
        given = [f"--tuned={folder}/checkpoint_best.pt", f"--ticket={folder}/ticket.json"]
        tasks[name] = explain(args, name, given)
    result = {"machine": machine(), "batches": args.batches, "tasks": tasks}
    with open(f"{args.out}/why.json", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    print(table(result))


if __name__ == "__main__":
    main()
