"""Panels of maps: how many, how large, and what stands around them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from pipeline.plots.color_scale import ColorScale
from pipeline.plots.extent import Extent, style_map_axes
from pipeline.plots.style import (
    MUTED_COLOR,
    TEXT_COLOR,
    draw_empty,
    escape_mathtext,
    figure_width,
    is_narrow,
    new_figure,
)
from stores.array_types import AnyArray
from stores.units import pretty_units

Side = Literal["right", "bottom"]

_MAX_PX = 800  # of a drawn map: more pixels than a panel has dots only cost time
_GOOD_HEIGHT = 6.0  # of a figure that fits a screen [inch]
_MAX_HEIGHT = 12.0  # of a figure [inch]
_TITLE_HEIGHT = 0.3  # of one panel [inch]
_BAR_INCH = {"right": 1.2, "bottom": 0.65}  # what a color bar and its labels take
_MAX_COLUMNS = 4
_MAX_LETTERS = 24  # below a third of a page's width


def check_maps(maps: AnyArray, labels: Sequence[str]) -> None:
    """Refuse what is not one labeled map or more.

    Raises:
        ValueError: maps are not (n, y, x) with a label each.
    """
    if maps.ndim != 3 or not maps.size or len(maps) != len(labels):
        raise ValueError(
            f"maps have shape {maps.shape} and {len(labels)} labels, so panels cannot be "
            "named; give maps (n, y, x) of at least one pixel with n labels"
        )


def pick_panels(n: int, max_panels: int) -> list[int]:
    """Choose at most ``max_panels`` of ``n`` maps, evenly spaced, with first and last."""
    return sorted({round(position) for position in np.linspace(0, n - 1, min(n, max_panels))})


def subsample(maps: AnyArray) -> tuple[AnyArray, int]:
    """Return every k-th pixel of large maps (..., y, x), and k."""
    stride = math.ceil(max(maps.shape[-2:]) / _MAX_PX)
    start = min(stride // 2, min(maps.shape[-2:]) - 1)  # middle of what a drawn pixel covers
    return maps[..., start::stride, start::stride], stride


def best_columns(n: int, ratio: float) -> int:
    """Choose the columns of ``n`` maps of this width to height so that they fit a screen."""
    side = bar_side()
    max_columns = 2 if is_narrow() else _MAX_COLUMNS
    return min(
        range(1, min(n, max_columns) + 1),
        key=lambda cols: abs(
            math.log(_height(math.ceil(n / cols), cols, ratio, side) / _GOOD_HEIGHT)
        ),
    )


def bar_side() -> Side:
    """Choose where the color bar of all maps stands: beside them it takes their width."""
    return "bottom" if is_narrow() else "right"


def start_panels(
    shape: tuple[int, int],
    extent: Extent,
    title: str,
    *,
    side: Side = "right",
    n_bars: int = 1,
) -> tuple[Figure, AnyArray]:
    """Start a figure with empty maps (row, col) and room for color bars on one side.

    Bars beside the maps share their column; below, each takes a row of its own.
    """
    n_rows, n_cols = shape
    height = _height(n_rows, n_cols, extent.ratio, side) + 0.9  # title, ticks and note
    if side == "bottom":
        height += (n_bars - 1) * _BAR_INCH[side]
    figure = new_figure(min(max(height, 3.0), _MAX_HEIGHT), title, fixed_aspect=True)
    return figure, np.asarray(figure.subplots(n_rows, n_cols, squeeze=False))


def _height(n_rows: int, n_cols: int, ratio: float, side: Side = "right") -> float:
    """Estimate the height of panels that fill the width [inch], as maps cannot stretch."""
    width = figure_width() - 0.8 - (_BAR_INCH["right"] if side == "right" else 0.0)
    bar = _BAR_INCH["bottom"] if side == "bottom" else 0.0
    return n_rows * (width / n_cols / ratio + _TITLE_HEIGHT) + bar


def draw_map(
    axes: Axes, values: AnyArray, name: str, extent: Extent, color_scale: ColorScale
) -> None:
    """Draw one map (y, x), north up, or a note where it holds nothing."""
    axes.imshow(
        np.ma.masked_invalid(values),
        extent=extent.edges,
        cmap=color_scale.cmap,
        norm=color_scale.norm,
        interpolation="nearest",
        origin="upper",
    )
    # A fixed y saves the search for a free one.
    axes.set_title(escape_mathtext(name), fontsize=10, color=TEXT_COLOR, pad=3, y=1.0)
    spec = axes.get_subplotspec()
    assert spec is not None  # panels always come from a grid
    style_map_axes(axes, extent, left=spec.is_first_col(), bottom=spec.is_last_row())
    if not np.isfinite(values).any():
        draw_empty(axes, "no valid pixel")


def add_color_bar(
    figure: Figure,
    panels: Iterable[Axes],
    color_scale: ColorScale,
    label: str,
    *,
    side: Side = "right",
) -> None:
    """Add the one color bar of these panels, with arrows where values lie beyond."""
    bar = figure.colorbar(
        ScalarMappable(color_scale.norm, color_scale.cmap),
        ax=list(panels),
        location=side,
        extend=color_scale.extend,
        ticks=_pick_ticks(color_scale.limits),
        format=FuncFormatter(lambda value, _: f"{value:g}"),
        aspect=30,
        shrink=0.9,
        pad=0.02,
    )
    bar.set_label(escape_mathtext(label), fontsize=10, color=TEXT_COLOR)
    bar.ax.tick_params(labelsize=9, colors=TEXT_COLOR, length=3)
    bar.outline.set_linewidth(0.5)


def _pick_ticks(limits: Sequence[float]) -> list[float]:
    """Choose the limits that are written: every second one where they are long."""
    n_letters = sum(len(f"{limit:g}") for limit in limits)
    return list(limits[::2] if n_letters > _MAX_LETTERS else limits)


def add_note(figure: Figure, *sentences: str) -> None:
    """Write below all panels what a reader must know to trust them."""
    text = " ".join(sentence for sentence in sentences if sentence)
    figure.supxlabel(
        escape_mathtext(textwrap.fill(text, round(13 * figure_width()))),
        fontsize=8.5,
        color=MUTED_COLOR,
    )


def subsampling_note(stride: int, n_shown: int, n_maps: int) -> str:
    """Describe what was not drawn."""
    ordinal = {2: "2nd", 3: "3rd"}.get(stride, f"{stride}th")
    pixels = f"Every {ordinal} pixel drawn." if stride > 1 else ""
    maps = f"{n_shown} of {n_maps} maps shown." if n_shown < n_maps else ""
    return " ".join(text for text in (pixels, maps, "Grey: no value.") if text)


def range_note(color_scale: ColorScale, units: str) -> str:
    """Describe in words what the colors span, for readers who cannot see them."""
    span = f"{color_scale.low:g} to {color_scale.high:g} {pretty_units(units)}"
    return f"colors from {span.rstrip()}."
