"""Commands about runs and their checkpoints."""

from __future__ import annotations

import argparse
import json
import os
import sys

from ..delta.delta import DTYPES
from ..glue.suite import glue_task
from .options import Add, check_running, output, running


def add_commands(add: Add) -> None:
    """``evaluate report``."""
    evaluates = add("evaluate", _evaluate, "Every dev metric of a fine-tuned checkpoint.")
    evaluates.add_argument("checkpoint", help="of any stage, with its head")
    evaluates.add_argument("--task", required=True, help="GLUE task")
    evaluates.add_argument("--data", help="its data-bin folder [data-bin/<TASK> or <TASK>-bin]")
    evaluates.add_argument("--json", action="store_true", help="print JSON")
    running(evaluates)

    report = add("report", _report, "Tables and figures of some runs.")
    report.add_argument("runs", nargs="+", metavar="RUN_DIR", help="folder of one run or of many")
    output(report, "folder to write index.html, report.md, report.json and figures/ into")


def _evaluate(args: argparse.Namespace) -> int:
    from ..serving.evaluate import evaluate

    task = glue_task(args.task)
    data = args.data or os.path.join("data-bin", task.folder)
    if args.data is None and not os.path.isdir(data) and os.path.isdir(f"{task.folder}-bin"):
        data = f"{task.folder}-bin"  # fairseq's own recipe
    found = evaluate(
        args.checkpoint,
        task,
        data,
        device=check_running(args),
        dtype=DTYPES[args.dtype],
        batch_size=args.batch_size,
        progress=sys.stderr.isatty(),
    )
    if args.json:
        print(json.dumps(found))
        return 0
    for split, metrics in found.items():
        told = "  ".join(f"{name} {value:.2f}" for name, value in metrics.items())
        print(f"{task.folder} {split}: {told}")
    return 0


def _report(args: argparse.Namespace) -> int:
    from ..report.page import write_report
    from ..report.runs import find_runs
    from ..report.scores import score_table, table_text
    from ..report.sections import make_document

    runs = find_runs(args.runs)
    rows = score_table(runs)
    if rows:
        print(table_text(rows))
    write_report(args.output, make_document(runs))
    print(f"wrote {os.path.join(args.output, 'index.html')}: open it in a browser")
    return 0
