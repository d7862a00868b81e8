"""One map a picture, and pictures that follow each other as an animation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import AbstractMovieWriter, FFMpegWriter, PillowWriter
from matplotlib.figure import Figure

from pipeline.plots.color_scale import ColorScale
from pipeline.plots.extent import Extent
from pipeline.plots.panels import (
    add_color_bar,
    add_note,
    check_maps,
    draw_map,
    range_note,
    start_panels,
)
from pipeline.plots.style import escape_mathtext
from stores.array_types import AnyArray
from stores.units import pretty_units

_PER_SECOND = 2  # maps: slow enough to read the dates


def plot_frame(
    values: AnyArray,
    label: str,
    *,
    extent: Extent,
    units: str,
    title: str,
    color_scale: ColorScale,
) -> Figure:
    """Draw one map (y, x) with colors that were chosen for all of a series.

    Args:
        values: the map, north up; NaN is light grey.
        label: its date.
        extent: where it lies.
        units: units of the values.
        title: title of the figure.
        color_scale: colors of the series.
    """
    figure, panels = start_panels((1, 1), extent, title)
    draw_map(panels[0, 0], values, label, extent, color_scale)
    add_color_bar(figure, panels.flat, color_scale, pretty_units(units))
    add_note(figure, color_scale.note)
    figure.set_label(f"{title}. Map: {label}; {range_note(color_scale, units)}")
    return figure


def draw_frames(maps: AnyArray, labels: Sequence[str], **style: Any) -> Iterator[Figure]:
    """Draw maps (n, y, x) one after the other into one figure, laid out once.

    Args:
        maps: values (n, y, x), north up.
        labels: date of each map.
        style: what ``plot_frame`` takes beside a map and its label.

    Raises:
        ValueError: maps are not (n, y, x) with a label each.
    """
    check_maps(maps, labels)
    figure = plot_frame(maps[0], labels[0], **style)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # nothing moves from date to date, and no time is lost
    axes = figure.axes[0]
    for values, label in zip(maps, labels, strict=True):
        axes.images[0].set_data(np.ma.masked_invalid(values))
        axes.title.set_text(escape_mathtext(label))
        yield figure


def write_animation(
    path: Path,
    maps: AnyArray,
    labels: Sequence[str],
    *,
    dpi: int = 80,
    **style: Any,
) -> None:
    """Show maps (n, y, x) one after the other, with the same colors, as ``.gif`` or ``.mp4``.

    Args:
        path: file that is written; its ending chooses the format. MP4 needs ffmpeg.
        maps: values (n, y, x), north up.
        labels: date of each map.
        dpi: dots per inch of a figure that is 10 inches wide.
        style: what ``plot_frame`` takes beside a map and its label.

    Raises:
        ValueError: maps are not (n, y, x) with a label each, or ffmpeg is missing.
    """
    writer = _writer_of(path)
    frames = draw_frames(maps, labels, **style)
    with writer.saving(next(frames), str(path), dpi):
        writer.grab_frame()
        for _ in frames:
            writer.grab_frame()


def can_write_mp4() -> bool:
    """Whether ffmpeg is installed."""
    return FFMpegWriter.isAvailable()


def _writer_of(path: Path) -> AbstractMovieWriter:
    if path.suffix == ".gif":
        return PillowWriter(fps=_PER_SECOND)
    if not can_write_mp4():
        raise ValueError(
            f"{path.name} needs ffmpeg, which is not installed, so no MP4 can be written; "
            "install it, or write a GIF"
        )
    # Players expect yuv420p, which wants even sides.
    even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]
    return FFMpegWriter(fps=_PER_SECOND, extra_args=even)
