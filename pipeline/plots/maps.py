"""Maps beside each other under one color bar, and maps of errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from pipeline.plots.color_scale import ColorScale
from pipeline.plots.extent import Extent, label_ticks
from pipeline.plots.palettes import Quantity, Role
from pipeline.plots.panels import (
    Side,
    add_color_bar,
    add_note,
    bar_side,
    best_columns,
    check_maps,
    draw_map,
    pick_panels,
    range_note,
    start_panels,
    subsample,
    subsampling_note,
)
from pipeline.plots.style import is_narrow, label_with_units
from stores.array_types import AnyArray
from stores.units import pretty_units

_MAX_PANELS = 12
_MAX_LEADS = 4
_WIDE = 1.2  # maps wider than this times their height stand in rows of three


def plot_maps(
    maps: AnyArray,
    labels: Sequence[str],
    *,
    extent: Extent,
    quantity: Quantity,
    title: str,
    role: Role = "value",
) -> Figure:
    """Draw maps (n, y, x) under one color bar; NaN is light grey.

    Of more than 12 maps, 12 are drawn, evenly spaced with the first and the last. Maps of
    more than 800 px are subsampled. The figure says what was left out and how its limits were
    chosen.

    Args:
        maps: values (n, y, x), north up.
        labels: title of each map.
        extent: where the maps lie.
        quantity: units of the values, and their colors.
        title: title of the figure.
        role: what the maps show of the quantity; departures and errors stand about zero.

    Raises:
        ValueError: maps are not (n, y, x) with a label each.
    """
    check_maps(maps, labels)
    shown = pick_panels(len(maps), _MAX_PANELS)
    subsampled, stride = subsample(maps[shown])
    color_scale = _fit_color_scale(subsampled, quantity, role)
    n_cols = best_columns(len(shown), extent.ratio)
    n_rows = math.ceil(len(shown) / n_cols)
    figure, panels = start_panels((n_rows, n_cols), extent, title, side=bar_side())
    shown_labels = [labels[index] for index in shown]
    _draw_panels(panels, subsampled, shown_labels, extent, color_scale)
    add_color_bar(
        figure, panels.flat, color_scale, pretty_units(quantity.units), side=bar_side()
    )
    add_note(figure, color_scale.note, subsampling_note(stride, len(shown), len(maps)))
    color_text = range_note(color_scale, quantity.units)
    figure.set_label(f"{title}. Maps: {', '.join(shown_labels)}; {color_text}")
    return figure


def _draw_panels(
    panels: AnyArray,
    maps: AnyArray,
    labels: Sequence[str],
    extent: Extent,
    color_scale: ColorScale,
) -> None:
    """Draw maps (n, y, x) row by row into panels (row, col); those left over stay empty."""
    n_cols = panels.shape[1]
    for index, axes in enumerate(panels.flat):
        if index >= len(maps):
            axes.set_axis_off()
            continue
        draw_map(axes, maps[index], labels[index], extent, color_scale)
        if index + n_cols >= len(maps):  # nothing below
            label_ticks(axes.xaxis, extent, shown=True)


def plot_errors(
    forecast: AnyArray,
    truth: AnyArray,
    labels: Sequence[str],
    *,
    extent: Extent,
    quantity: Quantity,
    title: str,
) -> Figure:
    """Draw forecast, truth and their difference side by side, for up to four leads.

    Args:
        forecast: values (n, y, x), north up.
        truth: values (n, y, x).
        labels: name of each lead.
        extent: where the maps lie.
        quantity: units of the values, and their colors.
        title: title of the figure.

    Raises:
        ValueError: both are not (n, y, x) with a label each.
    """
    check_maps(forecast, labels)
    check_maps(truth, labels)
    shown = pick_panels(len(forecast), 2 if is_narrow() else _MAX_LEADS)
    pair, stride = subsample(np.stack([forecast[shown], truth[shown]]))
    layers = np.stack([*pair, pair[0] - pair[1]])  # (layer, lead, y, x)
    value_scale = _fit_color_scale(pair, quantity, "value")
    error_scale = _fit_color_scale(layers[2], quantity, "error")
    wide = extent.ratio >= _WIDE and not is_narrow()
    side: Side = "bottom" if wide else bar_side()
    shape = (len(shown), 3) if wide else (3, len(shown))
    figure, all_axes = start_panels(shape, extent, title, side=side, n_bars=1 if wide else 2)
    panels = all_axes.T if wide else all_axes  # (layer, lead)
    shown_labels = [labels[lead] for lead in shown]
    _draw_layers(panels, layers, shown_labels, extent, (value_scale, value_scale, error_scale))
    units = quantity.units
    add_color_bar(figure, panels[:2].flat, value_scale, pretty_units(units), side=side)
    error_label = label_with_units("forecast - truth", units)
    add_color_bar(figure, panels[2].flat, error_scale, error_label, side=side)
    add_note(figure, error_scale.note, subsampling_note(stride, len(shown), len(forecast)))
    error_text = range_note(error_scale, units)
    figure.set_label(f"{title}. Forecast, truth and error; error {error_text}")
    return figure


def _draw_layers(
    panels: AnyArray,
    layers: AnyArray,
    labels: Sequence[str],
    extent: Extent,
    color_scales: Sequence[ColorScale],
) -> None:
    """Draw layers (layer, lead, y, x), which are forecast, truth and error, into panels."""
    for layer, name in enumerate(("forecast", "truth", "error")):
        for lead, axes in enumerate(panels[layer]):
            label = f"{labels[lead]}, {name}"
            draw_map(axes, layers[layer, lead], label, extent, color_scales[layer])


def _fit_color_scale(values: AnyArray, quantity: Quantity, role: Role) -> ColorScale:
    palette = quantity.palette(role)
    return ColorScale.fit(values, palette.kind, palette.name)
