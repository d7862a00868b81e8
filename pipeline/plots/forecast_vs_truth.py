"""The last input, the forecast, and the truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.plots.color_scale import ColorScale
from pipeline.plots.extent import Extent, label_ticks
from pipeline.plots.panels import (
    add_color_bar,
    add_note,
    draw_map,
    pick_panels,
    range_note,
    start_panels,
)
from pipeline.plots.style import draw_empty
from stores.array_types import AnyArray
from stores.units import pretty_units

_MAX_LEADS = 3


def plot_forecast_vs_truth(
    last: tuple[str, AnyArray],
    pairs: Mapping[str, tuple[AnyArray, AnyArray]],
    *,
    extent: Extent,
    units: str,
    title: str,
) -> Figure:
    """Draw the last input, and for up to three leads the forecast above the truth.

    All maps have the same colors. A truth without a value is said to be not known yet; where
    none has one, there is no row for them.

    Args:
        last: date and map (y, x) of the last input, north up.
        pairs: forecast and truth (y, x) of each date; NaN where nothing is known.
        extent: where the maps lie.
        units: units of the values.
        title: title of the figure.
    """
    dates = list(pairs)
    shown = {dates[index]: pairs[dates[index]] for index in pick_panels(len(dates), _MAX_LEADS)}
    maps = np.stack([last[1], *(values for pair in shown.values() for values in pair)])
    color_scale = ColorScale.fit(maps, "sequential")
    is_known = any(map(_has_value, (truth for _, truth in shown.values())))
    shape = (2 if is_known else 1, 1 + len(shown))
    figure, panels = start_panels(shape, extent, title, side="bottom")
    draw_map(panels[0, 0], last[1], f"{last[0]}, last input", extent, color_scale)
    label_ticks(panels[0, 0].xaxis, extent, shown=True)  # nothing below
    for axes, (date, (forecast, _)) in zip(panels[0, 1:], shown.items(), strict=True):
        draw_map(axes, forecast, f"{date}, forecast", extent, color_scale)
    for row in panels[1:]:
        row[0].set_axis_off()
        for axes, (date, (_, truth)) in zip(row[1:], shown.items(), strict=True):
            _draw_truth(axes, truth, f"{date}, truth", extent, color_scale)
    add_color_bar(figure, panels.flat, color_scale, pretty_units(units), side="bottom")
    add_note(figure, color_scale.note)
    what = "Last input, forecast and truth" if is_known else "Last input and forecast"
    figure.set_label(f"{title}. {what}; {range_note(color_scale, units)}")
    return figure


def _has_value(values: AnyArray) -> bool:
    return bool(np.isfinite(values).any())


def _draw_truth(
    axes: Axes, values: AnyArray, name: str, extent: Extent, color_scale: ColorScale
) -> None:
    if _has_value(values):
        draw_map(axes, values, name, extent, color_scale)
        return
    axes.set_axis_off()
    draw_empty(axes, f"{name}: not known yet")
