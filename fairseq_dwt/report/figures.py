"""The figures: the paper's 2 and 3, the skeleton, how alike tickets are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..model.names import KIND_OF_MODULE, KINDS, layer_of, stack_of
from ..ticket import ElementMask
from .document import Figure
from .theme import CATEGORIES, COLUMN, PAGE, Theme, color_map, draw

#: Pixels of a matrix in Figure 2: blocks of a matrix are averaged down to this.
_PIXELS = 96
_COLOURS = {
    "Dominant-1": CATEGORIES[0],
    "Dominant-3": CATEGORIES[5],
    "Random-1": CATEGORIES[1],
    "Random-3": CATEGORIES[4],
    "BitFit": CATEGORIES[2],
}

#: A line of Figure 3: (updates, values).
Line = tuple[Sequence[float], Sequence[float]]


def out_weighted_figure(masks: Mapping[str, ElementMask]) -> Figure:
    """Figure 2: out-weighted parameters, a task a row, a matrix a column.

    One matrix of each kind, of the middle layer. Outputs down, inputs across, the bias as the last
    column; a cell is the share of out-weighted parameters in a block, the columns of which are
    never mixed with fewer than the largest share among them, so that a single column stays visible.

    Args:
        masks: ``{task: m_σ}``.
    """
    stack = min(stack_of(n) for mask in masks.values() for n in mask.masks)
    layers = sorted(
        {layer_of(n) for mask in masks.values() for n in mask.masks if stack_of(n) == stack}
    )
    layer = layers[len(layers) // 2]
    names = [f"{stack}layers.{layer}.{module}" for module in KIND_OF_MODULE]

    def paint(figure: Any, theme: Theme) -> None:
        grid = figure.subplots(len(masks), len(names), squeeze=False)
        image = None
        for row, (task, mask) in enumerate(masks.items()):
            for axis, name, kind in zip(grid[row], names, KINDS):
                shown = _pooled(mask.masks[name])
                image = axis.imshow(
                    shown,
                    vmin=0,
                    vmax=1,
                    cmap=color_map(theme),
                    aspect="auto",
                    interpolation="nearest",
                )
                axis.set_xticks([])
                axis.set_yticks([])
                for spine in axis.spines.values():
                    spine.set_visible(True)
                    spine.set_color(theme["faint"])
                if row == 0:
                    axis.set_title(f"{kind}, layer {layer}")
                if kind == KINDS[0]:
                    axis.set_ylabel(task)
        bar = figure.colorbar(image, ax=grid, shrink=0.8, aspect=30, pad=0.01)
        bar.set_label("share out-weighted")
        bar.outline.set_visible(False)

    caption = (
        f"Figure 2. Out-weighted parameters of the six matrices of layer {layer} after L1 "
        "fine-tuning on each task: inputs across, outputs down, the bias at the right edge. "
        "A dominated dimension is a vertical line."
    )
    return draw("figure2", caption, (PAGE, 0.45 + 1.0 * len(masks)), paint)


def _pooled(mask: torch.Tensor) -> np.ndarray:
    """Mean over blocks of outputs, then the largest over blocks of inputs."""
    values = mask.float()[None, None]
    rows = min(values.shape[2], _PIXELS)
    columns = min(values.shape[3], 2 * _PIXELS)
    averaged = torch.nn.functional.adaptive_avg_pool2d(values, (rows, values.shape[3]))
    return torch.nn.functional.adaptive_max_pool2d(averaged, (rows, columns))[0, 0].numpy()


def curves_figure(
    tasks: Mapping[str, Mapping[str, tuple[Line, Line, Line]]], metrics: Mapping[str, str]
) -> Figure:
    """Figure 3: training loss, training accuracy and validation score against updates.

    Args:
        tasks: ``{task: {method: (training loss, training accuracy, validation score)}}``.
        metrics: ``{task: name of its validation score}``.
    """
    methods = list(dict.fromkeys(m for lines in tasks.values() for m in lines))
    # a moved ticket, "Dominant-1 (SST-2)", has the colour of its kind unless there are two of it
    colours: dict[str, str] = {}
    for method in methods:
        colour = _COLOURS.get(method.partition(" (")[0])
        if colour is not None and colour not in colours.values():
            colours[method] = colour
    others = [m for m in methods if m not in colours and m != "Full"]

    def style(method: str, theme: Theme) -> dict[str, Any]:
        if method == "Full":
            return {"color": theme["ink"]}
        if method in colours:
            return {"color": colours[method]}
        number = others.index(method)
        return {"color": CATEGORIES[(3, 6)[number % 2]], "linestyle": ("--", ":")[number // 2 % 2]}

    def paint(figure: Any, theme: Theme) -> None:
        grid = figure.subplots(len(tasks), 3, squeeze=False)
        for row, (task, by_method) in enumerate(tasks.items()):
            titles = ("training loss", "training accuracy", f"validation {metrics[task]}")
            for number, (axis, title) in enumerate(zip(grid[row], titles)):
                for method in methods:
                    if method in by_method:
                        x, y = by_method[method][number]
                        marker = {"marker": "o", "markersize": 2.2} if number == 2 else {}
                        axis.plot(x, y, label=method, **marker, **style(method, theme))
                axis.set_title(f"{task}: {title}")
                axis.grid(axis="y")
                axis.set_axisbelow(True)
                if row == len(tasks) - 1:
                    axis.set_xlabel("updates")
        handles: dict[str, Any] = {}
        for axis in grid.flat:
            for handle, label in zip(*axis.get_legend_handles_labels()):
                handles.setdefault(label, handle)
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside lower center",
            ncols=min(len(handles), 7),
            frameon=False,
        )

    caption = (
        "Figure 3. Training loss (base 2) and accuracy over the last logging interval, and the "
        "validation score, against updates; mean over seeds at each method's best learning rate."
    )
    return draw("figure3", caption, (PAGE, 0.35 + 1.75 * len(tasks)), paint)


def skeleton_figure(
    counts: Mapping[int, Mapping[int, int]], layers: int, source: str, stack: str = ""
) -> Figure:
    """The skeleton: in which layers each of the most popular dimensions dominates.

    Args:
        counts: ``{dimension: {layer: number of Q, K, V, FC1 in which it is in the top k}}``.
        layers: number of layers.
        source: whose ticket it is.
        stack: of a model that has several, ``encoder``.
    """
    table = np.zeros((len(counts), layers))
    for row, by_layer in enumerate(counts.values()):
        for layer, number in by_layer.items():
            table[row, layer] = number

    def paint(figure: Any, theme: Theme) -> None:
        axis = figure.subplots()
        image = axis.imshow(table, vmin=0, vmax=4, cmap=color_map(theme), aspect="auto")
        axis.set_yticks(range(len(counts)), [str(c) for c in counts])
        step = max(1, layers // 8)
        axis.set_xticks(range(0, layers, step), [str(n) for n in range(0, layers, step)])
        axis.set_xlabel("layer")
        axis.set_ylabel("dimension")
        bar = figure.colorbar(image, ax=axis, ticks=range(5), pad=0.02)
        bar.set_label("matrices")
        bar.outline.set_visible(False)

    caption = (
        f"The skeleton of {source}: the input dimensions that are among the first three of the "
        "most matrices, and in how many of Q, K, V and FC1 of each layer."
    )
    return draw(f"skeleton-{stack}".rstrip("-"), caption, (COLUMN, 1.0 + 0.17 * len(counts)), paint)


def similarity_figure(names: Sequence[str], values: Sequence[Sequence[float]]) -> Figure:
    """The per-matrix Jaccard similarity of every pair of tickets.

    Args:
        names: of the tickets.
        values: (tickets, tickets), in [0, 1].
    """
    size = len(names)

    def paint(figure: Any, theme: Theme) -> None:
        axis = figure.subplots()
        image = axis.imshow(np.asarray(values), vmin=0, vmax=1, cmap=color_map(theme))
        axis.set_xticks(range(size), names, rotation=45, ha="right")
        axis.set_yticks(range(size), names)
        for i in range(size):
            for j in range(size):
                color = theme["paper"] if values[i][j] > 0.5 else theme["ink"]
                text = f"{values[i][j]:.2f}"
                axis.text(j, i, text, ha="center", va="center", fontsize=6, color=color)
        bar = figure.colorbar(image, ax=axis, shrink=0.8)
        bar.set_label("Jaccard, mean over matrices")
        bar.outline.set_visible(False)

    caption = (
        "How alike the top-3 tickets of the L1 fine-tunings are, seed by seed and task by task."
    )
    side = max(COLUMN, 0.9 + 0.36 * size)
    return draw("similarity", caption, (side, 0.8 * side), paint)


def mean_line(lines: list[list[tuple[float, float]]]) -> Line:
    """The mean over runs of (update, value) points, at the updates that all runs have."""
    tables = [dict(line) for line in lines if line]
    if not tables:
        return [], []
    shared = sorted(set(tables[0]).intersection(*tables[1:]))
    return shared, [sum(table[x] for table in tables) / len(tables) for x in shared]
