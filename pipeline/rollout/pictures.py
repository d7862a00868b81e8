"""Pictures of a published forecast: a map per date, an animation, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.plots import (
    ColorScale,
    Extent,
    can_write_mp4,
    draw_frames,
    plot_forecast_vs_truth,
    to_png,
    write_animation,
)
from pipeline.rollout.map_data import Subsampling
from stores.array_types import Float32Array
from stores.cube import Cube
from stores.files import write_bytes
from stores.forecast import Forecast
from stores.times import Time, format_dates, to_times
from stores.windows import Window

_SIDE = 512  # of a window that is read at once [px]
_DPI = 80


@dataclass(frozen=True, slots=True)
class Pictures:
    """What is drawn of a forecast: its first variable, subsampled to a screen."""

    forecast: Forecast
    cube: Cube
    """What the forecast was made from: last input, and truth where it came in since."""
    dpi: int = _DPI

    @property
    def variable(self) -> str:
        """Name of what is drawn."""
        return self.forecast.variables[0]

    @property
    def labels(self) -> list[str]:
        """Dates of all leads, as files are named."""
        return [self.forecast.label(lead) for lead in range(1, len(self.forecast.times) + 1)]

    @property
    def dates(self) -> list[str]:
        """Dates of all leads, for people."""
        return [format_dates(label) for label in self.labels]

    @property
    def init(self) -> str:
        """Date of the last input, as files are named."""
        return self.forecast.step.label(self.forecast.init)

    @property
    def title(self) -> str:
        """Write the title: what the archive says of itself, then the init."""
        name = self.forecast.group.attrs["title"] or self._attributes["long_name"]
        return f"{name}: forecast from {format_dates(self.init)}"

    @property
    def style(self) -> dict[str, Any]:
        """Extent, units and title, which every figure shows."""
        units = str(self._attributes["units"])
        return {"extent": Extent.of(self.forecast.grid), "units": units, "title": self.title}

    @property
    def _attributes(self) -> dict[str, Any]:
        return dict(self.forecast.group[self.variable].attrs)

    def forecasts(self) -> Float32Array:
        """Read the maps of all leads (lead, y, x)."""
        leads = range(1, len(self.forecast.times) + 1)
        return np.stack(
            [self._read_subsampled(partial(self._forecast, lead)) for lead in leads]
        )

    def list_read(self) -> list[str]:
        """List the files of the cube that are drawn: last input, and truth that came since."""
        available = self.cube.step_times(self.variable)
        times = [t for t in (self.forecast.init, *self.forecast.times) if t in available]
        return self.cube.frame_files(self.variable, to_times(times))

    def observed(self, time: Time) -> Float32Array:
        """Read what was observed inside the forecast's domain (y, x); NaN if not known yet."""
        if time in self.cube.step_times(self.variable):
            return self._read_subsampled(partial(self._observed, time))
        shape = Subsampling.of(self.forecast.shape).subsampled_shape
        return np.full(shape, np.nan, dtype=np.float32)

    def _forecast(self, lead: int, window: Window) -> Float32Array:
        return self.forecast.read(self.variable, lead, window)

    def _observed(self, time: Time, window: Window) -> Float32Array:
        values = self.cube.read(self.variable, window, np.array([time]))[0]
        return np.where(self.forecast.read_domain(window), values, np.float32(np.nan))

    def _read_subsampled(self, read: Callable[[Window], Float32Array]) -> Float32Array:
        """Read a map (y, x) window by window, and keep what a screen shows."""
        subsampling = Subsampling.of(self.forecast.shape)
        subsampled = np.empty(subsampling.subsampled_shape, dtype=np.float32)
        for window in Window.from_shape(self.forecast.shape).blocks(_SIDE, _SIDE):
            subsampling.subsample_into(read(window), window, subsampled)
        return subsampled


def write_pictures(pictures: Pictures, folder: Path) -> Iterator[Path]:
    """Write a PNG per date, an animation and a comparison; yield each file when it is there.

    The animation is a GIF, and an MP4 too where ffmpeg is installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    maps = pictures.forecasts()
    dates = pictures.dates
    style = pictures.style
    color_scale = ColorScale.fit(maps, "sequential")
    name = pictures.variable
    frames = draw_frames(maps, dates, color_scale=color_scale, **style)
    for figure, label in zip(frames, pictures.labels, strict=True):
        yield _write(folder / f"{name}_{label}.png", to_png(figure, dpi=pictures.dpi))
    for ending in ("gif", "mp4") if can_write_mp4() else ("gif",):
        path = folder / f"{name}_{pictures.init}.{ending}"
        write_animation(path, maps, dates, color_scale=color_scale, dpi=pictures.dpi, **style)
        yield path
    last = pictures.observed(pictures.forecast.init)
    truths = map(pictures.observed, pictures.forecast.times)
    pairs = dict(zip(dates, zip(maps, truths, strict=True), strict=True))
    figure = plot_forecast_vs_truth((format_dates(pictures.init), last), pairs, **style)
    yield _write(
        folder / f"{name}_{pictures.init}_panels.png", to_png(figure, dpi=pictures.dpi)
    )


def _write(path: Path, picture: bytes) -> Path:
    write_bytes(path, picture)
    return path
