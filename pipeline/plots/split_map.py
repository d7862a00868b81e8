"""A map of which part each pixel belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipeline.plots.extent import Extent, style_map_axes
from pipeline.plots.panels import start_panels, subsample
from pipeline.plots.style import INVALID_COLOR, TEXT_COLOR, color_of, escape_mathtext

# Training and validation as in the curves; then what only the final scores see.
_COLORS = ("#4d4d4d", color_of("forecast", 0), color_of("persistence", 0), INVALID_COLOR)
_OUTSIDE = "#ffffff"


def plot_split(
    numbers: npt.NDArray[np.integer[Any]],
    labels: Sequence[str],
    *,
    extent: Extent,
    title: str = "Parts",
) -> Figure:
    """Draw which pixel belongs to which part, and which stay free between parts.

    Args:
        numbers: index of each pixel's part among ``labels`` (y, x), north up; -1 lies
            outside.
        labels: at most four: train, validation, test, and what stays free.
        extent: where the map lies.
        title: title of the figure.
    """
    figure, panels = start_panels((1, 1), extent, title)
    axes = panels[0, 0]
    colors = _COLORS[: len(labels)]
    axes.imshow(
        subsample(numbers)[0],
        extent=extent.edges,
        cmap=ListedColormap([_OUTSIDE, *colors]),
        vmin=-1.5,
        vmax=len(colors) - 0.5,
        interpolation="nearest",
        origin="upper",
    )
    style_map_axes(axes, extent, left=True, bottom=True)
    _add_legend(figure, colors, labels)
    figure.set_label(f"{title}: {'; '.join(labels)}.")
    return figure


def _add_legend(figure: Figure, colors: Sequence[str], labels: Sequence[str]) -> None:
    """Name the colors below the map: on it, they would hide pixels."""
    handles = [
        Patch(
            facecolor=color, edgecolor=TEXT_COLOR, linewidth=0.4, label=escape_mathtext(label)
        )
        for color, label in zip(colors, labels, strict=True)
    ]
    style = {"ncols": 2, "fontsize": 9, "frameon": False, "labelcolor": TEXT_COLOR}
    figure.legend(handles=handles, loc="outside lower center", **style)
