"""The heat map of \\|Δ\\| per matrix (the paper's Figure 2) of one L1 fine-tuning."""

from __future__ import annotations

import io
from typing import Sequence

import numpy as np
import torch

from ..extraction import TensorOf, delta
from ..matrices import KINDS, Matrix

__all__ = ["delta_heatmap"]

_PIXELS = 96


def delta_heatmap(
    matrices: Sequence[Matrix], init: TensorOf, tuned: TensorOf, sigma: float
) -> bytes:
    """A PNG: layers down, the six matrices across; each cell is \\|Δ\\| of W, bias on its right.

    A dominated dimension is a vertical line. Matrices larger than the picture are max-pooled, so
    that a single column stays visible. Colour is log10(\\|Δ\\|/σ), from 1/100 of σ to 100 times.

    Args:
        matrices: the model's ticket matrices.
        init: gives a tensor of θ0 by its canonical name.
        tuned: gives a tensor of θ by its canonical name.
        sigma: threshold σ, the middle of the colour scale.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layers = sorted({m.layer for m in matrices})
    figure = Figure(figsize=(1.35 * len(KINDS) + 0.9, 1.25 * len(layers) + 0.5), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(layers), len(KINDS), squeeze=False)
    images = []
    for matrix in matrices:
        axis = axes[layers.index(matrix.layer), KINDS.index(matrix.kind)]
        weight = delta(init(matrix.weight), tuned(matrix.weight)).abs()
        bias = delta(init(matrix.bias), tuned(matrix.bias)).abs()
        pooled = _pool(torch.cat([weight, bias.unsqueeze(1)], dim=1))
        shown = np.log10(np.maximum(pooled / sigma, 1e-2))
        images.append(axis.imshow(shown, vmin=-2, vmax=2, cmap="magma", aspect="auto"))
        axis.set_xticks([])
        axis.set_yticks([])
        if matrix.layer == layers[0]:
            axis.set_title(matrix.kind, fontsize=9)
        if matrix.kind == KINDS[0]:
            axis.set_ylabel(f"layer {matrix.layer}", fontsize=8)
    figure.subplots_adjust(left=0.06, right=0.88, top=0.94, bottom=0.02, wspace=0.06, hspace=0.08)
    bar = figure.colorbar(images[-1], cax=figure.add_axes((0.90, 0.1, 0.015, 0.75)))
    bar.set_ticks([-2, -1, 0, 1, 2])
    bar.set_ticklabels(["σ/100", "σ/10", "σ", "10 σ", "100 σ"], fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _pool(delta: torch.Tensor) -> np.ndarray:
    rows, columns = delta.shape
    size = (min(rows, _PIXELS), min(columns, 2 * _PIXELS))
    return torch.nn.functional.adaptive_max_pool2d(delta[None, None], size)[0, 0].numpy()
