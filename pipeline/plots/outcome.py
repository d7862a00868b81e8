"""What went in, what was forecast, and what came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.plots.panels import (
    add_color_bar,
    add_note,
    draw_map,
    pick_panels,
    range_note,
    start_panels,
)
from pipeline.plots.place import Extent, label_ticks
from pipeline.plots.shades import Shades
from pipeline.plots.style import say_nothing_to_draw
from stores.units import show_units

_MOST_LEADS = 3


def plot_outcome(
    last: tuple[str, npt.NDArray[Any]],
    pairs: Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]],
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
        pairs: forecast and truth of each date; NaN where nothing is known.
        extent: where the maps lie.
        units: units of the values.
        title: title of the figure.
    """
    dates = list(pairs)
    shown = {
        dates[place]: pairs[dates[place]] for place in pick_panels(len(dates), _MOST_LEADS)
    }
    drawn = np.stack([last[1], *(values for pair in shown.values() for values in pair)])
    shades = Shades.fit(drawn, "sequential")
    is_known = any(map(_has_value, (truth for _, truth in shown.values())))
    shape = (2 if is_known else 1, 1 + len(shown))
    figure, panels = start_panels(shape, extent, title, side="bottom")
    draw_map(panels[0, 0], last[1], f"{last[0]}, last input", extent, shades)
    label_ticks(panels[0, 0].xaxis, extent, shown=True)  # nothing below
    for axes, (date, (forecast, _)) in zip(panels[0, 1:], shown.items(), strict=True):
        draw_map(axes, forecast, f"{date}, forecast", extent, shades)
    for row in panels[1:]:
        row[0].set_axis_off()
        for axes, (date, (_, truth)) in zip(row[1:], shown.items(), strict=True):
            _draw_truth(axes, truth, f"{date}, truth", extent, shades)
    add_color_bar(figure, panels.flat, shades, show_units(units), side="bottom")
    add_note(figure, shades.note)
    what = "Last input, forecast and truth" if is_known else "Last input and forecast"
    figure.set_label(f"{title}. {what}; {range_note(shades, units)}")
    return figure


def _has_value(values: npt.NDArray[Any]) -> bool:
    return bool(np.isfinite(values).any())


def _draw_truth(
    axes: Axes, values: npt.NDArray[Any], name: str, extent: Extent, shades: Shades
) -> None:
    if _has_value(values):
        draw_map(axes, values, name, extent, shades)
        return
    axes.set_axis_off()
    say_nothing_to_draw(axes, f"{name}: not known yet")
