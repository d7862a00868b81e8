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

    All maps have the same colors. A truth without a value is said to be not known yet.

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
    figure, panels = start_panels((2, 1 + len(shown)), extent, title, side="bottom")
    draw_map(panels[0, 0], last[1], f"{last[0]}, last input", extent, shades)
    label_ticks(panels[0, 0].xaxis, extent, shown=True)  # nothing below
    panels[1, 0].set_axis_off()
    for column, (date, (forecast, truth)) in enumerate(shown.items(), start=1):
        draw_map(panels[0, column], forecast, f"{date}, forecast", extent, shades)
        _draw_truth(panels[1, column], truth, f"{date}, truth", extent, shades)
    add_color_bar(figure, panels.flat, shades, show_units(units), side="bottom")
    add_note(figure, shades.note)
    figure.set_label(f"{title}. Last input, forecast and truth; {range_note(shades, units)}")
    return figure


def _draw_truth(
    axes: Axes, values: npt.NDArray[Any], name: str, extent: Extent, shades: Shades
) -> None:
    if np.isfinite(values).any():
        draw_map(axes, values, name, extent, shades)
        return
    axes.set_axis_off()
    say_nothing_to_draw(axes, f"{name}: not known yet")
