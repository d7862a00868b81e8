"""Read what pictures of a forecast need: window by window, and no more than a screen shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.plots.panels import pick_panels
from pipeline.rollout.products import LOWER, UPPER
from pipeline.streams.source import Source
from pipeline.streams.spatial_split import read_area_table, read_part_numbers
from stores.array_types import BoolArray, Float32Array, Float64Array, IntArray
from stores.forecast import Forecast
from stores.times import Times
from stores.windows import Window

_SCREEN_PX = 800  # longer sides are subsampled while reading
_SIDE = 512  # of a window: a chunk of what was ingested and of a climatology
_MAX_MAPS = 12  # more panels than that would show nothing
_N_PAST_FRAMES = 24  # frames before the forecast: two years of months show what is usual
_LINES = ("forecast", "climatology", "truth")
_INTERVAL_SUFFIXES = {"lower": LOWER, "upper": UPPER}

SeriesFrames = dict[str, Float32Array]
"""Frames of one window and time by the name of their line (y, x)."""
NumberT = TypeVar("NumberT", bound=np.generic)


@dataclass(frozen=True)
class MapData:
    """What pictures need of a forecast: subsampled maps of some leads, and means of all."""

    leads: tuple[int, ...]
    """Leads that have a map, counted from 1."""
    forecast: Float32Array
    """Maps (map, y, x)."""
    anomaly: Float32Array
    """Forecast minus training climatology (map, y, x)."""
    truth: Float32Array
    """What came in since (map, y, x); NaN where the truth is not known yet."""
    width: Float32Array | None
    """Upper minus lower end of the interval (map, y, x); None without intervals."""
    means: pd.DataFrame
    """Domain means of the last frames and all leads: forecast, climatology, truth and ends."""
    stride: int
    """Maps hold every n-th pixel, the middle one of what it stands for."""
    parts: IntArray | None = None
    """Which part each pixel belongs to (y, x); None where parts are split by dates alone."""
    parts_table: pd.DataFrame | None = None
    """What each part got."""


@dataclass(frozen=True, slots=True)
class Subsampling:
    """Every n-th pixel of a raster, taken window by window."""

    shape: tuple[int, int]
    stride: int

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Self:
        """Choose the stride so that a screen shows all pixels."""
        return cls(shape, max(1, -(-max(shape) // _SCREEN_PX)))

    @property
    def first(self) -> int:
        """First row and column that is kept: the middle of what it stands for."""
        return min(self.stride // 2, min(self.shape) - 1)

    @property
    def subsampled_shape(self) -> tuple[int, int]:
        """Rows and columns that are kept."""
        return self._count(self.shape[0]), self._count(self.shape[1])

    def subsample_into(
        self, values: npt.NDArray[NumberT], window: Window, into: npt.NDArray[NumberT]
    ) -> None:
        """Copy what is kept of a window's values (y, x) into the subsampled map (y, x)."""
        y = self._count(window.y0)
        x = self._count(window.x0)
        first_y = self.first + y * self.stride - window.y0
        first_x = self.first + x * self.stride - window.x0
        subsampled = values[first_y :: self.stride, first_x :: self.stride]
        into[y : y + subsampled.shape[0], x : x + subsampled.shape[1]] = subsampled

    def _count(self, stop: int) -> int:
        """Count the rows, or columns, that are kept before ``stop``."""
        return max(0, -(-(stop - self.first) // self.stride))


@dataclass(slots=True)
class _Means:
    """Domain means as sums that are added window by window (time, line)."""

    times: Times
    lines: tuple[str, ...]
    total: Float64Array
    n: IntArray

    @classmethod
    def zero(cls, times: Times, lines: tuple[str, ...]) -> Self:
        """Start with nothing added."""
        shape = len(times), len(lines)
        return cls(times, lines, np.zeros(shape), np.zeros(shape, dtype=np.int64))

    def add(self, index: int, inside: BoolArray, frames: SeriesFrames) -> None:
        """Add the pixels of one window of the domain (y, x) at one time."""
        for name, frame in frames.items():
            values = frame[inside & np.isfinite(frame)]
            line = self.lines.index(name)
            self.total[index, line] += values.sum(dtype=np.float64)
            self.n[index, line] += values.size

    def table(self) -> pd.DataFrame:
        """Return one row a time and one column a line; lines without a value are left out."""
        mean = np.divide(
            self.total, self.n, where=self.n > 0, out=np.full_like(self.total, np.nan)
        )
        table = pd.DataFrame(mean, self.times, list(self.lines))
        return table.dropna(axis=1, how="all")


def read_map_data(forecast: Forecast, source: Source) -> MapData:
    """Read a forecast, its climatology and the truth that is known, window by window.

    Memory follows the screen and one window, whatever the size of the raster.
    """
    subsampling = Subsampling.of(forecast.shape)
    leads = _pick_leads(len(forecast.times))
    past_times = _past_times(forecast, source)
    bounds = _interval_variables(forecast, source)
    means = _Means.zero(np.concatenate([past_times, forecast.times]), (*_LINES, *bounds))
    n_layers = 4 if bounds else 3
    maps = np.empty((n_layers, len(leads), *subsampling.subsampled_shape), dtype=np.float32)
    for window in Window.from_shape(forecast.shape).blocks(_SIDE, _SIDE):
        inside = forecast.read_domain(window)
        for index, observed in enumerate(_read_past_frames(source, window, past_times)):
            means.add(index, inside, observed)
        for index, frames in enumerate(_read_leads(forecast, source, window)):
            means.add(len(past_times) + index, inside, frames)
            if index + 1 in leads:
                position = leads.index(index + 1)
                for layer, values in enumerate(_map_layers(frames)):
                    subsampling.subsample_into(values, window, maps[layer, position])
    return MapData(
        leads=leads,
        forecast=maps[0],
        anomaly=maps[1],
        truth=maps[2],
        width=maps[3] if bounds else None,
        means=means.table(),
        stride=subsampling.stride,
        **_read_split_map(source, subsampling),
    )


def _past_times(forecast: Forecast, source: Source) -> Times:
    """List the last frames that were observed before a forecast."""
    times = source.open().step_times(source.stack.target.variable)
    is_past = (times <= forecast.init) & (times < forecast.times[0])  # a first lead may be 0
    past_times: Times = times[is_past][-_N_PAST_FRAMES:]
    return past_times


def _interval_variables(forecast: Forecast, source: Source) -> dict[str, str]:
    """List the variables of both ends of the interval by line, where there is one."""
    target = source.stack.target.variable
    names = {line: f"{target}{suffix}" for line, suffix in _INTERVAL_SUFFIXES.items()}
    return names if set(names.values()) <= set(forecast.variables) else {}


def _read_past_frames(source: Source, window: Window, times: Times) -> Iterator[SeriesFrames]:
    """Read climatology and truth of every frame (y, x)."""
    climatologies = source.climatology(window, times)
    truths = source.truth(window, times)
    for climatology, truth in zip(climatologies, truths, strict=True):
        yield {"climatology": climatology, "truth": truth}


def _read_leads(forecast: Forecast, source: Source, window: Window) -> Iterator[SeriesFrames]:
    """Read what is drawn of every lead (y, x); a truth that is not known is NaN."""
    target = source.stack.target.variable
    bounds = _interval_variables(forecast, source)
    available = set(source.open().step_times(target).tolist())
    for lead, valid_time in enumerate(forecast.times, start=1):
        times = np.array([valid_time])
        frame = forecast.read(target, lead, window)
        is_known = valid_time.item() in available
        truth = source.truth(window, times)[0] if is_known else np.full_like(frame, np.nan)
        ends = {line: forecast.read(name, lead, window) for line, name in bounds.items()}
        climatology = source.climatology(window, times)[0]
        yield {"forecast": frame, "climatology": climatology, "truth": truth, **ends}


def _map_layers(frames: SeriesFrames) -> Iterator[Float32Array]:
    """Yield what has maps (y, x): forecast, departure, truth and the interval's width."""
    yield frames["forecast"]
    yield frames["forecast"] - frames["climatology"]
    yield frames["truth"]
    if "upper" in frames:
        yield frames["upper"] - frames["lower"]


def _read_split_map(source: Source, subsampling: Subsampling) -> dict[str, Any]:
    """Read which part each pixel belongs to (y, x), where the split is spatial."""
    table = read_area_table(source.fields)
    if table is None:
        return {}
    parts = np.empty(subsampling.subsampled_shape, dtype=np.int64)
    for window in Window.from_shape(subsampling.shape).blocks(_SIDE, _SIDE):
        subsampling.subsample_into(read_part_numbers(source.fields, window), window, parts)
    return {"parts": parts, "parts_table": table}


def _pick_leads(n: int) -> tuple[int, ...]:
    """Choose the leads that have a map, evenly spaced, with the first and the last."""
    return tuple(1 + index for index in pick_panels(n, _MAX_MAPS))
