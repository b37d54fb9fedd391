"""Commands about runs."""

from __future__ import annotations

import argparse
import os

from .options import Add, output

__all__ = ["add_commands"]


def add_commands(add: Add) -> None:
    """``report``."""
    report = add("report", _report, "Tables and figures of some runs.")
    report.add_argument("runs", nargs="+", metavar="RUN_DIR", help="folder of one run or of many")
    output(report, "folder to write index.html, report.md, report.json and figures/ into")


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
    print(f"wrote {os.path.join(args.output, 'index.html')}")
    return 0
