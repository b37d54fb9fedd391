"""Drawing: one function that draws, two backgrounds, two formats."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from .document import Figure, Picture

#: Widths in inches: one column of a two-column paper, and both.
COLUMN, PAGE = 3.35, 6.9
#: Okabe and Ito's colours, told apart by all kinds of eyes.
CATEGORIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1")

Theme = dict[str, str]
_LIGHT: Theme = {"ink": "#1f2328", "faint": "#d0d7de", "paper": "#ffffff", "high": "#08306b"}
_DARK: Theme = {"ink": "#e6edf3", "faint": "#3d444d", "paper": "#0d1117", "high": "#f0f8ff"}


def draw(
    name: str, caption: str, size: tuple[float, float], painter: Callable[[Any, Theme], None]
) -> Figure:
    """Call ``painter(figure, theme)`` for each background.

    Args:
        name: of the figure. caption: of the figure.
        size: (width, height) in inches.
        painter: draws into a matplotlib figure; colours that depend on the background come from
            the theme: ``ink``, ``faint``, ``paper``, ``high``; see :func:`color_map`.
    """
    return Figure(
        name, caption, size[0], _picture(size, painter, _LIGHT), _picture(size, painter, _DARK)
    )


def color_map(theme: Theme) -> Any:
    """From the background, which stands for nothing, over blue to what stands out most."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("dwt", [theme["paper"], "#4292c6", theme["high"]])


def _picture(
    size: tuple[float, float], painter: Callable[[Any, Theme], None], theme: Theme
) -> Picture:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    settings: Any = {
        "font.size": 7.5,
        "axes.titlesize": 8,
        "axes.labelsize": 7.5,
        "legend.fontsize": 7,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "lines.linewidth": 1.2,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "fairseq_dwt",
        **{f"axes.{key}": theme["ink"] for key in ("edgecolor", "labelcolor", "titlecolor")},
        **dict.fromkeys(("text.color", "xtick.color", "ytick.color"), theme["ink"]),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor"), theme["paper"]),
        "savefig.facecolor": theme["paper"],
        "grid.color": theme["faint"],
        "grid.linewidth": 0.5,
    }
    with matplotlib.rc_context(settings):
        figure = Canvas(figsize=size, dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        painter(figure, theme)
        files = []
        for kind, metadata in (("png", {}), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
            files.append(buffer.getvalue())
    return Picture(*files)
