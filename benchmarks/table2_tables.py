"""Tables and the figure of table2.py's results, for the docs.

python benchmarks/table2_tables.py docs/table2.json
python benchmarks/table2_tables.py docs/curve.json --curve
python benchmarks/table2_tables.py docs/table2.json --summary docs/curve.json
python benchmarks/table2_tables.py docs/table2.json --figure docs/curve.json docs/figures
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from figures import write

from fairseq_dwt.report.document import Figure
from fairseq_dwt.report.figures import mean_line
from fairseq_dwt.report.theme import CATEGORIES, PAGE, Theme, draw

KS = (1, 3, 10, 30, 100)
COLOURS = dict(zip(("Dominant", "Random", "One-shot", "Slice"), CATEGORIES))
COLOURS |= dict(zip(("BitFit", "LoRA", "Weight-norm"), CATEGORIES[4:]))
OF_K = ("Dominant", "Random", "One-shot", "Slice", "Weight-norm")

Result = Mapping[str, Any]
Run = Mapping[str, Any]


def key(run: Run) -> tuple[str, str, float, int]:
    """What tells one run from another: task, method, learning rate, seed."""
    return run["task"], run["method"].lower(), float(run["lr"]), int(run["seed"])


def best_rate(runs: Sequence[Run]) -> float:
    """The learning rate of the best mean, of those with the most seeds, as in ``report``."""
    by_rate: dict[float, list[float]] = {}
    for run in runs:
        by_rate.setdefault(float(run["lr"]), []).append(run["best"])
    return max(by_rate, key=lambda rate: (len(by_rate[rate]), mean(by_rate[rate])))


def at_best(result: Result) -> dict[tuple[str, str], tuple[dict[float, float], list[Run]]]:
    """Seed 1's score by learning rate, and the runs of all seeds at the best rate.

    Returns:
        by (task, method), in that order.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(result["runs"], key=key):
        groups.setdefault((run["task"], run["method"]), []).append(run)
    found = {}
    for name, runs in groups.items():
        first = {run["lr"]: run["best"] for run in runs if run["seed"] == 1}
        rate = best_rate(runs)
        found[name] = first, [run for run in runs if run["lr"] == rate]
    return found


def table(result: Result) -> str:
    """Markdown: best validations, per cent, of seed 1 at each rate and of all seeds at its best."""
    heads = ["task", "method", "trained", "seed 1, by rate", "seeds, at the best", "mean ± sd"]
    text = "| " + " | ".join([*heads, "best in"]) + " |\n|---|---|---:|---|---|---:|---|\n"
    for (task, method), (first, runs) in at_best(result).items():
        scores = [run["best"] for run in runs]
        validations = [[score for _, score in run["validations"]] for run in runs]
        cells = [
            task,
            method,
            ", ".join(dict.fromkeys(f"{run['trained']:,}" for run in runs)),
            ", ".join(f"{rate:g}: {score:.1f}" for rate, score in first.items()),
            ", ".join(f"{score:.1f}" for score in scores),
            f"{mean(scores):.1f} ± {stdev(scores):.1f}" if len(scores) > 1 else "",
            ", ".join(str(1 + one.index(max(one))) for one in validations),
        ]
        text += "| " + " | ".join(cells) + " |\n"
    return text


def curve(result: Result) -> str:
    """Markdown: seed 1's best score of all rates, by k and method; of several seeds, all."""
    best = {method: runs[0] for (_, method), (_, runs) in at_best(result).items()}
    names = [name for name in OF_K if any(f"{name}-{k}" in best for k in KS)]
    text = "| k | " + " | ".join(names) + " |\n|---:|" + "---:|" * len(names) + "\n"
    for k in KS:
        runs = [best.get(f"{name}-{k}") for name in names]
        cells = [f"{run['best']:.1f} ({run['trained']:,})" if run else "" for run in runs]
        text += f"| {k} | " + " | ".join(cells) + " |\n"
    others = [run for name, run in best.items() if _kind(name) not in OF_K]
    told = [f"{run['method']} {run['best']:.1f} ({run['trained']:,})" for run in others]
    return text + "\nBeside them: " + ", ".join(sorted(told)) + ".\n\n" + _seeds(result)


def _seeds(result: Result) -> str:
    """Markdown: of the methods that have several seeds, their scores at the best rate."""
    text = "| method | rate | seeds | mean ± sd |\n|---|---:|---|---:|\n"
    several = {m: runs for (_, m), (_, runs) in at_best(result).items() if len(runs) > 1}
    for method, runs in several.items():
        scores = [run["best"] for run in runs]
        cells = [method, f"{runs[0]['lr']:g}", ", ".join(f"{score:.1f}" for score in scores)]
        text += "| " + " | ".join([*cells, f"{mean(scores):.1f} ± {stdev(scores):.1f}"]) + " |\n"
    return text if several else ""


def _repeated(result: Result) -> list[str]:
    """Tasks on which some method has several seeds: one seed alone tells no method from another."""
    return list(dict.fromkeys(t for (t, _), (_, runs) in at_best(result).items() if len(runs) > 1))


def summary(to_the_end: Result, short: Result) -> str:
    """Markdown: what each method scores, at its best rate, on the repeated tasks; most first."""
    scores: dict[str, dict[str, str]] = {}
    trained: dict[str, int] = {}
    for result in (short, to_the_end):
        for (task, method), (_, runs) in at_best(result).items():
            if task not in _repeated(result):
                continue
            updates = "" if result is to_the_end else f", {_updates(runs[0]):,.0f} updates"
            best = [run["best"] for run in runs]
            spread = f" ± {stdev(best):.1f}" if len(best) > 1 else ""
            scores.setdefault(task + updates, {})[method] = (
                f"{mean(best):.1f}{spread} ({len(best)})"
            )
            trained[method] = max(run["trained"] for run in runs)
    last = {method for _, method in at_best(to_the_end)}
    text = "| | trained | " + " | ".join(scores) + " |\n|---|---:|" + "---|" * len(scores) + "\n"
    for method in sorted(last, key=lambda method: (-trained[method], method)):
        cells = [method, f"{trained[method]:,}", *(of.get(method, "") for of in scores.values())]
        text += "| " + " | ".join(cells) + " |\n"
    return text


def figure(to_the_end: Result, of_k: Result) -> Figure:
    """Score against what trains after few updates, and against updates; full is the ink."""
    best = {method: runs[0] for (_, method), (_, runs) in at_best(of_k).items()}

    def paint(canvas: Any, theme: Theme) -> None:
        tasks = _repeated(to_the_end)
        left, *others = canvas.subplots(1, 1 + len(tasks))
        for name, colour in COLOURS.items():
            runs = [run for method, run in best.items() if _kind(method) == name]
            points = sorted((run["trained"], run["best"]) for run in runs)
            left.plot(*zip(*points), "o-", color=colour, label=name, markersize=3) if points else 0
        left.plot(best["Full"]["trained"], best["Full"]["best"], "s", color=theme["ink"],
                  label="Full", markersize=4)  # fmt: skip
        left.set_xscale("log")
        left.set_title(f"{of_k['runs'][0]['task']}, {_updates(best['Full']):,.0f} updates")
        left.set_xlabel("weights that train")
        left.set_ylabel("dev accuracy")
        for axis, its in zip(others, tasks):
            for (task, method), (_, runs) in at_best(to_the_end).items():
                line = mean_line([[tuple(point) for point in run["validations"]] for run in runs])
                style = "--" if method.endswith("-3") else "-"
                colour = COLOURS.get(_kind(method), theme["ink"])
                axis.plot(*line, style, color=colour, label=method) if task == its else 0
            metric = next(run["metric"] for run in to_the_end["runs"] if run["task"] == its)
            axis.set_title(f"{its}, {metric}, mean over seeds")
            axis.set_xlabel("updates")
        for axis in (left, *others):
            axis.grid(axis="y")
            axis.legend(frameon=False, fontsize=5, ncols=2, loc="lower right")

    return draw("suffice", "Do the columns suffice?", (PAGE, 2.8), paint)


def _kind(method: str) -> str:
    """``One-shot`` of One-shot-3, ``BitFit`` of BitFit."""
    return method.rstrip("0123456789").rstrip("-")


def _updates(run: Run) -> float:
    return run["validations"][-1][0]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", help="JSON of table2.py")
    parser.add_argument("--curve", action="store_true", help="scores against k")
    parser.add_argument("--summary", metavar="CURVE.json", help="all tasks, a line a method")
    parser.add_argument("--figure", nargs=2, metavar=("CURVE.json", "FOLDER"))
    args = parser.parse_args()
    with open(args.result, encoding="utf-8") as file:
        result = json.load(file)
    if not args.figure and not args.summary:
        print((curve if args.curve else table)(result))
        return
    with open(args.summary or args.figure[0], encoding="utf-8") as file:
        other = json.load(file)
    if args.summary:
        print(summary(result, other))
    else:
        write(figure(result, other), args.figure[1])


if __name__ == "__main__":
    main()
