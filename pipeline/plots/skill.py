"""How good a forecast is at each lead, against what costs nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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

_SKILL = "skill_"
_WORST = -1.5  # lowest skill that is drawn: one bad lead must not flatten the rest


def plot_skill(
    table: pd.DataFrame, *, model: str, step: str = "step", title: str = "Skill against lead"
) -> Figure:
    """Draw RMSE against lead for every method, and the model's skill against each baseline.

    Args:
        table: scores with columns method, lead, rmse, units and ``skill_<baseline>``; rows
            whose lead is no number are left out.
        model: method whose skill is drawn.
        step: what one lead is, such as 'month'.
        title: title of the figure.

    Raises:
        ValueError: the table has no rows of ``model``.
    """
    rows = table[[isinstance(lead, int | np.integer) for lead in table["lead"]]]
    if model not in set(rows["method"]):
        raise ValueError(
            f"the table scores {sorted(set(table['method']))} but not {model!r} at any lead, "
            "so there is no skill to draw; name a method of the table"
        )
    figure, errors, skills = new_figure_pair(4.2, title)
    _draw_errors(errors, rows, model)
    _draw_skills(skills, rows[rows["method"] == model])
    for axes in (errors, skills):
        axes.set_xlabel(escape_mathtext(lead_axis(step)), fontsize=10, color=TEXT_COLOR)
        axes.set_xlim(0.5, max(rows["lead"]) + 0.5)
        axes.xaxis.set_major_locator(lead_ticks())
    add_legend(figure, errors)  # the baselines look the same on both sides
    figure.set_label(
        f"{title}: RMSE and skill of {display_name(model)} against {lead_axis(step)}."
    )
    return figure


def _draw_errors(axes: Axes, rows: pd.DataFrame, model: str) -> None:
    units = str(rows["units"].iloc[0])
    style_axes(axes, ylabel=label_with_units("RMSE", units), title="Error: lower is better")
    for index, (method, scored) in enumerate(rows.groupby("method", sort=False)):
        _draw_line(axes, scored, "rmse", str(method), index, bold=method == model)
    axes.set_ylim(bottom=0)


def _draw_skills(axes: Axes, rows: pd.DataFrame) -> None:
    style_axes(
        axes, ylabel="skill: 1 - MSE / MSE of the baseline", title="Skill: above 0 is better"
    )
    columns = [str(column) for column in rows if str(column).startswith(_SKILL)]
    for index, column in enumerate(columns):
        _draw_line(axes, rows, column, column.removeprefix(_SKILL), index, bold=False)
    values = rows[columns].to_numpy(dtype=float)
    if not np.isfinite(values).any():
        draw_empty(axes, "no baseline was scored")
        return
    low = min(0.0, np.nanmin(values))
    high = max(0.0, np.nanmax(values))
    margin = 0.08 * (high - low) or 0.1
    axes.set_ylim(max(low - margin, _WORST), high + margin)
    axes.axhspan(-10, 0, color="#D55E00", alpha=0.07, linewidth=0)
    axes.axhline(0, color=TEXT_COLOR, linewidth=1.1)
    axes.text(
        0.01,
        0.01,
        "below 0: worse than the baseline"
        + (" (partly beyond the axis)" if low < _WORST else ""),
        transform=axes.transAxes,
        fontsize=8.5,
        color=MUTED_COLOR,
    )


def _draw_line(
    axes: Axes, rows: pd.DataFrame, column: str, method: str, index: int, *, bold: bool
) -> None:
    axes.plot(
        rows["lead"].to_numpy(dtype=float),
        rows[column].to_numpy(dtype=float),
        color=color_of(method, index),
        linestyle=dashes_of(method),
        linewidth=2.4 if bold else 1.6,
        marker="o",
        markersize=4.5 if bold else 3,
        label=escape_mathtext(display_name(method)),
        zorder=3 if bold else 2,
    )
