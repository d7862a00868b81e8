"""What each covariate is worth to a model, over all leads and at each."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipeline.metrics import ALL_LEADS
from pipeline.metrics.importance import uninformative
from pipeline.plots.style import (
    INVALID_COLOR,
    MUTED_COLOR,
    TEXT_COLOR,
    color_of,
    draw_empty,
    escape_mathtext,
    lead_axis,
    lead_ticks,
    new_figure,
    style_axes,
)
from stores.array_types import BoolArray, Float64Array

_ROW_HEIGHT = 0.42  # of one covariate [inch]
_FRAME_HEIGHT = 2.0  # of all around them [inch]
_MAX_NUMBERED_LEADS = 14  # more leads leave no room for a number in each cell
_NO_HELP = "does not help"


def plot_importance(
    table: pd.DataFrame, *, step: str = "step", title: str = "Importance of covariates"
) -> Figure:
    """Draw by how much the squared error grows when each covariate is permuted.

    Dots stand for all leads together, their bars for the standard deviation over repeats;
    cells stand for single leads. Covariates come as the table orders them.

    Args:
        table: columns covariate, lead (1, 2, ... or 'all'), importance and importance_sd.
        step: what one lead is, such as 'month'.
        title: title of the figure.

    Raises:
        ValueError: the table holds no covariate over all leads.
    """
    pooled = table[table["lead"] == ALL_LEADS]
    if pooled.empty:
        raise ValueError(
            f"the table has no row of lead {ALL_LEADS!r}, so there is no covariate to draw; "
            "give the table as importance_table made it"
        )
    names = [str(name) for name in pooled["covariate"]]
    figure = new_figure(_FRAME_HEIGHT + _ROW_HEIGHT * len(names), title)
    dots, cells = figure.subplots(1, 2, sharey=True, width_ratios=[2, 3])
    _draw_dots(dots, pooled, set(uninformative(table)))
    dots.set_yticks(range(len(names)), [escape_mathtext(name) for name in names])
    dots.set_ylim(len(names) - 0.5, -0.5)
    growth = _per_lead(table, names, "importance")
    std = _per_lead(table, names, "importance_sd")
    _frame_cells(cells, growth, step)
    _draw_cells(cells, growth, np.abs(growth) > std)
    figure.set_label(f"{title}: growth of the squared error when a covariate is permuted.")
    return figure


def _per_lead(table: pd.DataFrame, names: list[str], column: str) -> Float64Array:
    """Return one column of single leads (covariate, lead)."""
    rows = table[table["lead"] != ALL_LEADS]
    leads = rows["lead"].unique()
    wide = rows.pivot_table(
        index="covariate", columns="lead", values=column, dropna=False, sort=False
    )
    return np.asarray(wide.loc[names, leads], dtype=np.float64)


def _draw_dots(axes: Axes, pooled: pd.DataFrame, without_gain: set[str]) -> None:
    style_axes(
        axes, xlabel="growth of the squared error", title="All leads; bars: spread of repeats"
    )
    axes.axvline(0, color=TEXT_COLOR, linewidth=1.1)
    for row, (name, mean, std) in enumerate(
        zip(pooled["covariate"], pooled["importance"], pooled["importance_sd"], strict=True)
    ):
        color = MUTED_COLOR if name in without_gain else color_of("model", 0)
        axes.errorbar(mean, row, xerr=std, fmt="o", color=color, capsize=3, markersize=5)
        if name in without_gain:
            axes.annotate(
                _NO_HELP,
                (mean, row),
                (0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                color=MUTED_COLOR,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )
    axes.margins(x=0.18)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda fraction, _: f"{100 * fraction:g}%"))


def _frame_cells(axes: Axes, growth: Float64Array, step: str) -> None:
    title = "Each lead [%]: red is worse; grey numbers lie within the spread"
    style_axes(axes, xlabel=lead_axis(step), title=title)
    axes.grid(visible=False)
    axes.tick_params(left=False)
    axes.set_xlim(0.5, growth.shape[1] + 0.5)
    axes.xaxis.set_major_locator(lead_ticks())


def _draw_cells(axes: Axes, growth: Float64Array, is_sure: BoolArray) -> None:
    """Draw growths (covariate, lead), with numbers where there is room for them."""
    n_rows, n_leads = growth.shape
    if not np.isfinite(growth).any():
        draw_empty(axes, "no error was measured")
        return
    limit = np.nanmax(np.abs(growth)) or 1.0
    axes.imshow(
        growth,
        cmap=colormaps["RdBu_r"].with_extremes(bad=INVALID_COLOR),
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        extent=(0.5, n_leads + 0.5, n_rows - 0.5, -0.5),
    )
    if n_leads > _MAX_NUMBERED_LEADS:
        return
    for (row, lead), fraction in np.ndenumerate(growth):
        color = "white" if abs(fraction) > 0.6 * limit else TEXT_COLOR
        axes.text(
            lead + 1,
            row,
            _percent(float(fraction)),
            ha="center",
            va="center",
            fontsize=8,
            color=color if is_sure[row, lead] else MUTED_COLOR,
        )


def _percent(fraction: float) -> str:
    """Write a fraction in percent with two digits; nothing for NaN."""
    percent = 100 * fraction
    if not np.isfinite(percent):
        return ""
    return f"{percent:z.0f}" if abs(percent) >= 9.95 else f"{percent:z.1f}"
