"""The figures of docs/oneshot.md, from the numbers of ``oneshot.py --json``.

python benchmarks/oneshot_figures.py study.json docs/figures
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable
from typing import Any

from figures import write

from fairseq_dwt.model.names import KINDS
from fairseq_dwt.report.document import Figure
from fairseq_dwt.report.theme import CATEGORIES, PAGE, Theme, draw

Rows = list[dict[str, Any]]


def _same_task(result: dict[str, Any], score: str, task: str) -> Rows:
    return [
        row
        for row in result["rows"]
        if row["score"] == score and row["task"] == row["l1_task"] == task
    ]


def _tasks(result: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["l1_task"] for row in result["rows"]))


def batches_figure(result: dict[str, Any]) -> Figure:
    """Similarity with the same task's L1 ticket against the number of batches."""
    plain = "gradient norm, "
    numbers = sorted(
        {
            int(row["score"][len(plain) :])
            for row in result["rows"]
            if row["score"].startswith(plain) and row["score"][len(plain) :].isdigit()
        }
    )

    def paint(figure: Any, theme: Theme) -> None:
        panels = figure.subplots(1, 4, sharey=True)
        shown = (("top1", "k = 1"), ("top3", "k = 3"), ("given1", "k = 1"), ("given3", "k = 3"))
        for axis, (key, title) in zip(panels, shown):
            for task, colour in zip(_tasks(result), CATEGORIES):
                means = [
                    statistics.mean(r[key] for r in _same_task(result, f"{plain}{n}", task))
                    for n in numbers
                ]
                axis.plot(numbers, means, "o-", color=colour, label=task, markersize=3)
            axis.set_xscale("log", base=2)
            axis.set_xticks(numbers, [str(n) for n in numbers])
            axis.set_ylim(0, 1)
            axis.grid(axis="y")
            given = key.startswith("given")
            axis.set_title(f"{title}, as many as L1" if given else title)
            axis.set_xlabel("batches")
        panels[0].set_ylabel("Jaccard with the L1 ticket")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center",
                      ncols=len(_tasks(result)), frameon=False)  # fmt: skip

    caption = "One-shot tickets and the L1 ticket of the same task, by number of batches."
    return draw("oneshot-batches", caption, (PAGE, 2.3), paint)


def kinds_figure(result: dict[str, Any]) -> Figure:
    """Similarity at k = 3 by kind of matrix, beside that of two L1 tickets."""

    def mean(found: Iterable[dict[str, Any]], kind: str) -> float:
        values = [row["kinds3"][kind] for row in found if kind in row["kinds3"]]
        return statistics.mean(values) if values else 0.0

    def paint(figure: Any, theme: Theme) -> None:
        tasks = _tasks(result)
        panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for axis, task in zip(panels, tasks):
            seeds = [pair for pair in result["l1"] if pair["tasks"] == [task, task]]
            own = _same_task(result, "gradient norm", task)
            for shift, found, colour, label in (
                (-0.2, seeds, theme["faint"], "two L1 tickets"),
                (0.2, own, CATEGORIES[0], "one-shot ticket and L1 ticket"),
            ):
                places = [i + shift for i in range(len(KINDS))]
                axis.bar(places, [mean(found, k) for k in KINDS], 0.38, color=colour, label=label)
            axis.set_xticks(range(len(KINDS)), KINDS)
            axis.set_ylim(0, 1)
            axis.set_title(task)
        panels[0].set_ylabel("Jaccard, k = 3")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center",
                      ncols=2, frameon=False)  # fmt: skip

    caption = "Where one-shot and L1 tickets of the same task agree, by kind of matrix."
    return draw("oneshot-kinds", caption, (PAGE, 2.3), paint)


def draw_all(result: dict[str, Any], folder: str) -> list[str]:
    """Write every figure, light and dark; returns the paths."""
    return [
        path
        for figure in (batches_figure(result), kinds_figure(result))
        for path in write(figure, folder)
    ]


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        for path in draw_all(json.load(file), sys.argv[2]):
            print(f"wrote {path}")
