"""What names the columns of tickets of L1? ``fairseq-dwt explain`` on some tasks, as a table.

python benchmarks/why.py --init model.pt --data data-bin --l1 SST-2=T.json QNLI=U.json --out why
python benchmarks/why.py --table docs/why.json
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


def explain(args: argparse.Namespace, task: str, ticket: str) -> dict[str, Any]:
    """The similarities that the command finds, and how many columns the ticket has."""
    out, name = f"{args.out}/{task}", glue_task(task).name
    given = ["--config-name", f"ticket_{name}", "--ticket", ticket, "--batches", str(args.batches)]
    settings = [f"task.data={args.data}/{task}", f"checkpoint.finetune_from_model={args.init}"]
    with contextlib.redirect_stdout(io.StringIO()):
        code = fairseq_dwt(["explain", *given, *settings, "common.cpu=true", "-o", out])
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


def table(result: dict[str, Any]) -> str:
    """Markdown: reasons by tasks, k = 1 and k = 3."""
    tasks = result["tasks"]
    text = "| reason | " + " | ".join(tasks) + " |\n|---|" + "---:|" * len(tasks) + "\n"
    first = next(iter(tasks.values()))
    for reason in next(iter(first.values())):
        cells = [
            ", ".join(f"{by_k[k][reason]['jaccard']:.2f}" for k in by_k) for by_k in tasks.values()
        ]
        text += f"| {reason} | " + " | ".join(cells) + " |\n"
    return text


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--init", help="pre-trained model.pt")
    parser.add_argument("--data", help="folder of the tasks' binarised data")
    parser.add_argument("--l1", nargs="+", metavar="TASK=TICKET", help="tickets of stage 1")
    parser.add_argument("--batches", type=int, default=32, help="[%(default)s]")
    parser.add_argument("--out", default="why", help="folder of the pages [%(default)s]")
    parser.add_argument("--table", metavar="FILE", help="print a file's table; run nothing")
    args = parser.parse_args()
    if args.table:
        with open(args.table, encoding="utf-8") as file:
            print(table(json.load(file)))
        return
    tickets = dict(pair.split("=", 1) for pair in args.l1)
    tasks = {task: explain(args, task, ticket) for task, ticket in tickets.items()}
    result = {"machine": machine(), "batches": args.batches, "tasks": tasks}
    with open(f"{args.out}/why.json", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    print(table(result))


if __name__ == "__main__":
    main()
