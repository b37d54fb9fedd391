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
    output(report, "folder to write index.html into")


def _report(args: argparse.Namespace) -> int:
    from ..report.page import write_page
    from ..report.runs import find_runs
    from ..report.scores import score_table, table_text

    runs = find_runs(args.runs)
    rows = score_table(runs)
    if rows:
        print(table_text(rows))
    path = os.path.join(args.output, "index.html")
    write_page(path, runs, rows)
    print(f"wrote {path}")
    return 0
