"""The figure of emergence.py's result.

python benchmarks/emergence_figure.py docs/emergence.json docs/figures
"""

from __future__ import annotations

import json
import sys
from typing import Any

from emergence import METHODS, TASK
from figures import write

from fairseq_dwt.report.document import Figure
from fairseq_dwt.report.theme import CATEGORIES, PAGE, Theme, draw


def figure(result: dict[str, Any]) -> Figure:
    """Separation, agreement and what is learnt, over the updates of pre-training."""
    rows = result["moments"]
    updates = [row["updates"] for row in rows]

    def paint(canvas: Any, theme: Theme) -> None:
        left, middle, right = canvas.subplots(1, 3)
        for (label, reason), colour in zip(
            (("inputs, <s>", "inputs, <s>"), ("inputs, tokens", "inputs, tokens"),
             ("gradient", "gradient (one-shot)"), ("weights", "weights")), CATEGORIES,
        ):  # fmt: skip
            values = [row["largest over median"][reason] for row in rows]
            left.plot(updates, values, color=colour, label=label)
        left.set_title("largest column / median")
        for k, style in ((0, "-"), (1, "--")):
            for word, colour in (("oneshot", CATEGORIES[0]), ("forward", CATEGORIES[1])):
                values = [row["like the last"][word][k] for row in rows]
                label = f"{word}, k = {(1, 3)[k]}"
                middle.plot(updates, values, style, color=colour, label=label)
        middle.set_title("Jaccard with the last ticket")
        trained = [row for row in rows if TASK in row]
        for method, colour in zip(METHODS, CATEGORIES):
            values = [row[TASK][method] for row in trained]
            right.plot([r["updates"] for r in trained], values, "o-", color=colour, label=method,
                       markersize=3)  # fmt: skip
        right.set_title("SST-2, dev accuracy")
        for axis in (left, middle, right):
            axis.set_xscale("log")
            axis.set_xlabel("updates of pre-training")
            axis.grid(axis="y")
            axis.legend(frameon=False)

    return draw("emergence", "A skeleton emerges in pre-training.", (PAGE, 2.4), paint)


def main() -> None:
    """Command line: a result, a folder."""
    with open(sys.argv[1], encoding="utf-8") as file:
        write(figure(json.load(file)), sys.argv[2])


if __name__ == "__main__":
    main()
