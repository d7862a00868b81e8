"""Lines over epochs and over time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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
    new_figure,
    style_axes,
)
from stores.formatting import pluralize

_LOSSES = {"train_loss": "training", "validation_loss": "validation"}
_LOG_RATIO = 10.0  # losses that span more are drawn on a logarithmic axis
_BAND = ("lower", "upper")


def plot_curves(
    curves: pd.DataFrame, *, best_epoch: int | None = None, title: str = "Training curves"
) -> Figure:
    """Draw losses, and the learning rate where there is one, against the epoch.

    Args:
        curves: columns epoch, train_loss, validation_loss and, at will, lr; NaN is left out.
        best_epoch: epoch whose weights are used; that of the lowest validation loss by default.
        title: title of the figure.

    Raises:
        ValueError: there is no column epoch.
    """
    if "epoch" not in curves:
        raise ValueError(
            f"curves have columns {list(curves)} but no 'epoch', so losses have no place; "
            "give epoch, train_loss, validation_loss and lr"
        )
    has_rate = "lr" in curves and bool(curves["lr"].notna().any())
    figure = new_figure(5.2 if has_rate else 3.8, title)
    panels = figure.subplots(
        2 if has_rate else 1,
        1,
        sharex=True,
        squeeze=False,
        height_ratios=(3, 1) if has_rate else None,
    )[:, 0]
    best = _draw_losses(panels[0], curves, best_epoch)
    if has_rate:
        style_axes(panels[1], ylabel="learning rate")
        _draw(panels[1], curves, "lr", TEXT_COLOR, "learning rate")
        panels[1].set_ylim(bottom=0)
        panels[1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    panels[-1].set_xlabel("epoch", fontsize=10, color=TEXT_COLOR)
    panels[-1].xaxis.set_major_locator(MaxNLocator(12, integer=True))
    figure.set_label(f"{title}: {pluralize(len(curves), 'epoch')}. {best}".strip())
    return figure


def _draw_losses(axes: Axes, curves: pd.DataFrame, best_epoch: int | None) -> str:
    """Draw both losses and mark the best epoch.

    Returns:
        a sentence that names that epoch; "" without a validation loss.
    """
    style_axes(axes, ylabel="loss [normalized units]")
    drawn = [column for column in _LOSSES if column in curves and curves[column].notna().any()]
    if not drawn:
        draw_empty(axes, "no loss was recorded")
        return ""
    for column in drawn:
        color = color_of("truth" if column == "train_loss" else "forecast", 0)
        _draw(axes, curves, column, color, _LOSSES[column])
    losses = curves[drawn].to_numpy(dtype=float)
    if np.nanmin(losses) > 0 and np.nanmax(losses) > _LOG_RATIO * np.nanmin(losses):
        axes.set_yscale("log")
    best = _mark_best(axes, curves, best_epoch) if "validation_loss" in drawn else ""
    axes.legend(fontsize=9, frameon=False, labelcolor=TEXT_COLOR)
    return best


def _mark_best(axes: Axes, curves: pd.DataFrame, best_epoch: int | None) -> str:
    """Mark the best epoch, which another score than the loss may have chosen, and name it."""
    losses = curves["validation_loss"].to_numpy(dtype=float)
    epochs = curves["epoch"].to_numpy(dtype=float)
    distance = losses if best_epoch is None else np.abs(epochs - best_epoch)
    best = int(np.nanargmin(distance))
    epoch = epochs[best]
    loss = losses[best]
    name = f"best: {loss:.4g} at epoch {epoch:g}"
    axes.plot([epoch], [loss], "o", color=color_of("persistence", 0), markersize=8, label=name)
    return name[0].upper() + name[1:] + "."


def _draw(axes: Axes, curves: pd.DataFrame, column: str, color: str, name: str) -> None:
    finite = curves[["epoch", column]].dropna()
    x, y = (finite[key].to_numpy(dtype=float) for key in ("epoch", column))
    marker = "o" if len(finite) <= 40 else None
    axes.plot(x, y, color=color, linewidth=1.8, marker=marker, markersize=3.5, label=name)


def plot_series(
    series: pd.DataFrame,
    *,
    units: str,
    title: str,
    init_time: np.datetime64 | None = None,
) -> Figure:
    """Draw one line a column over time, such as the domain mean of truth and forecast.

    Args:
        series: columns truth, forecast, climatology, ... over an index of dates; NaN is a gap.
            Columns lower and upper are drawn as a band.
        units: units of the values.
        title: title of the figure.
        init_time: last time the forecast knew; drawn as a line.
    """
    figure = new_figure(3.8, title)
    axes = figure.subplots()
    style_axes(axes, ylabel=label_with_units("mean", units))
    lines = [column for column in series if column not in _BAND]
    for index, column in enumerate(lines):
        _draw_series(axes, series[column], index)
    if set(_BAND) <= set(series):
        _draw_band(axes, series)
    if not np.isfinite(series.to_numpy(dtype=float)).any():
        draw_empty(axes, "no valid value")
        axes.set_xticks([])
    else:
        _style_date_axis(axes, init_time)
        add_legend(figure, axes)
    figure.set_label(
        f"{title}: {', '.join(display_name(str(name)) for name in series)} over time."
    )
    return figure


def _draw_band(axes: Axes, series: pd.DataFrame) -> None:
    finite = series[list(_BAND)].dropna()
    axes.fill_between(
        finite.index.to_numpy().astype("datetime64[s]").astype(object),
        finite["lower"].to_numpy(dtype=float),
        finite["upper"].to_numpy(dtype=float),
        color=color_of("forecast", 0),
        alpha=0.18,
        linewidth=0,
        label="interval",
    )


def _draw_series(axes: Axes, values: pd.Series[float], index: int) -> None:
    method = str(values.name)
    axes.plot(
        values.index.to_numpy().astype("datetime64[s]").astype(object),
        values.to_numpy(dtype=float),
        color=color_of(method, index),
        linestyle=dashes_of(method),
        linewidth=2.4 if method == "forecast" else 1.5,
        marker="o" if len(values) <= 60 else None,
        markersize=3.5 if method == "forecast" else 2.5,
        label=escape_mathtext(display_name(method)),
        zorder=3 if method == "forecast" else 2,
    )


def _style_date_axis(axes: Axes, init_time: np.datetime64 | None) -> None:
    locator = AutoDateLocator(minticks=4, maxticks=10)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    if init_time is not None:
        time = init_time.astype("datetime64[s]").item()
        axes.axvline(
            time, color=MUTED_COLOR, linewidth=1.2, linestyle=(0, (2, 2)), label="init time"
        )
