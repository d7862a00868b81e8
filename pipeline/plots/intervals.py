"""Coverage and width of intervals at each lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from pipeline.metrics.intervals import Coverage
from pipeline.plots.style import (
    MUTED_COLOR,
    TEXT_COLOR,
    add_legend,
    color_of,
    dashes_of,
    display_name,
    draw_empty,
    escape_mathtext,
    label_with_units,
    lead_axis,
    lead_ticks,
    new_figure_pair,
    style_axes,
)
from stores.array_types import Float64Array, IntArray

_MARGIN = 0.05  # shown on either side of nominal and observed: small misses look small


def plot_intervals(
    coverages: Mapping[str, Coverage],
    *,
    level: float,
    units: str,
    step: str = "step",
    title: str = "Intervals against lead",
) -> Figure:
    """Draw the fraction of truths inside the intervals, and their mean width, against lead.

    Args:
        coverages: counts of each method; leads are counted from 1.
        level: fraction of truths that the intervals promise to hold.
        units: units of the forecast.
        step: what one lead is, such as 'month'.
        title: title of the figure.

    Raises:
        ValueError: no method is given.
    """
    if not coverages:
        raise ValueError(
            "no coverage is given, so there is nothing to draw; count the intervals of at "
            "least one method"
        )
    figure, coverage_axes, widths = new_figure_pair(4.2, title)
    promise = f"Coverage: {_percent(level)} is promised"
    style_axes(coverage_axes, ylabel="truths inside", title=promise)
    style_axes(
        widths, ylabel=label_with_units("mean width", units), title="Width: lower is sharper"
    )
    for index, (method, coverage) in enumerate(coverages.items()):
        _draw_line(coverage_axes, coverage.fraction, method, index)
        _draw_line(widths, coverage.mean_width, method, index)
    fractions = np.concatenate([coverage.fraction for coverage in coverages.values()])
    _style_coverage_axes(coverage_axes, fractions[np.isfinite(fractions)], level)
    widths.margins(y=0.1)
    widths.set_ylim(bottom=0)
    for axes in (coverage_axes, widths):
        _style_lead_axes(axes, [coverage.n for coverage in coverages.values()], step)
    add_legend(figure, widths)  # the methods look the same on both sides
    figure.set_label(f"{title}: coverage and mean width of intervals of {_percent(level)}.")
    return figure


def _style_coverage_axes(axes: Axes, observed: Float64Array, level: float) -> None:
    """Draw the promised coverage, and shade where fewer truths lie inside."""
    low = observed.min(initial=level)
    high = observed.max(initial=level)
    axes.set_ylim(max(low - _MARGIN, 0), min(high + _MARGIN, 1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda coverage, _: _percent(coverage)))
    axes.axhspan(-1, level, color="#D55E00", alpha=0.07, linewidth=0)
    if not len(observed):
        return
    axes.axhline(level, color=TEXT_COLOR, linewidth=1.1)
    axes.text(
        0.01,
        0.01,
        "below the line: the intervals are too sure",
        transform=axes.transAxes,
        fontsize=8.5,
        color=MUTED_COLOR,
    )


def _style_lead_axes(axes: Axes, counts: Sequence[IntArray], step: str) -> None:
    if not any(n.any() for n in counts):
        draw_empty(axes, "no truth was counted")
    axes.set_xlim(0.5, max(map(len, counts)) + 0.5)
    axes.set_xlabel(escape_mathtext(lead_axis(step)), fontsize=10, color=TEXT_COLOR)
    axes.xaxis.set_major_locator(lead_ticks())


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.4g}%"


def _draw_line(axes: Axes, values: Float64Array, method: str, index: int) -> None:
    axes.plot(
        np.arange(1, len(values) + 1),
        values,
        color=color_of(method, index),
        linestyle=dashes_of(method),
        linewidth=1.8,
        marker="o",
        markersize=4,
        label=escape_mathtext(display_name(method)),
        zorder=3,
    )
