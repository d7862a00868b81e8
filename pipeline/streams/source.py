"""Read what a network reads: windows of a cube, at true dates, normalized."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.streams.axis import TimeAxis
from pipeline.streams.fields import (
    CLIMATOLOGY,
    read_domain,
    read_field,
    read_part_area,
    read_scored_area,
    read_seasons,
)
from pipeline.streams.forcing_policy import resolve_forcing
from pipeline.streams.input_stack import ForcingSpec, InputStack, VariableSpec
from pipeline.streams.transforms import Chain, build_chain, leading_trend
from stores.array_types import BoolArray, Float32Array
from stores.cube import Cube
from stores.seasons import CalendarCycle
from stores.times import Step, Time, Times
from stores.windows import Window

Valid = BoolArray

_TAU = 2 * np.pi


@dataclass(frozen=True)
class Source:
    """A cube as one model sees it. Small and picklable: workers open what it names."""

    cube: Path
    fields: Path
    stack: InputStack

    def open(self) -> Cube:
        """Open the cube as its last commit left it, once per process and commit."""
        return _open_cube(self.cube, (self.cube / "zarr.json").stat().st_mtime_ns)

    def chain(self, series: VariableSpec, window: Window) -> Chain:
        """Build the transforms of a variable into the network's space, for one window."""
        return build_chain(series.chain, lambda name: read_field(self.fields, name, window))

    def target(self, window: Window, times: Times) -> Float32Array:
        """Read the normalized target (t, y, x); NaN where it is invalid."""
        return self._normalized(self.stack.target, window, times)

    def filled_target(self, window: Window, times: Times) -> tuple[Float32Array, Valid]:
        """Read the normalized target, 0 where invalid, and where it is valid (t, y, x)."""
        target = self.target(window, times)
        valid = np.isfinite(target)
        return np.where(valid, target, np.float32(0)), valid

    def truth(self, window: Window, times: Times) -> Float32Array:
        """Read the target in physical units (t, y, x); NaN where it is invalid."""
        truth: Float32Array = self.open().read(self.stack.target.variable, window, times)
        return truth

    def inverse_transform(
        self, normalized: Float32Array, window: Window, times: Times
    ) -> Float32Array:
        """Transform forecasts back to physical units (t, y, x)."""
        return self.chain(self.stack.target, window).inverse(normalized, self.axis(times))

    def climatology(self, window: Window, times: Times) -> Float32Array:
        """Compute the target's training climatology at ``times``, in physical units (t, y, x).

        Where the target has a trend, it is the climatology without it, with the trend put back.
        """
        means = read_field(self.fields, CLIMATOLOGY, window)
        axis = self.axis(times)
        return leading_trend(self.stack.target.chain).inverse(means[axis.seasons], axis)

    def axis(self, times: Times) -> TimeAxis:
        """Look up the index of each date's season among the climatologies (t,)."""
        return TimeAxis.of(read_seasons(self.fields), times)

    def domain(self, window: Window) -> Valid:
        """Return where forecasts are made (y, x)."""
        return read_domain(self.fields, window)

    def part_area(self, part: str, window: Window) -> Valid:
        """Return where samples of a part lie (y, x); everywhere without a split by place."""
        return read_part_area(self.fields, part, window)

    def scored_area(self, part: str, window: Window) -> Valid:
        """Return which pixels count in the scores of a part (y, x)."""
        return read_scored_area(self.fields, part, window)

    def statics(self, window: Window) -> Float32Array:
        """Read the channels without a date (s, y, x); invalid pixels are 0."""
        grid = self.open().grid
        channels = self.stack.channels.statics
        maps = np.empty((len(channels), *window.shape), dtype=np.float32)
        for static, channel in zip(self.stack.statics, channels.slices, strict=True):
            if static.series is None:
                maps[channel] = pixel_position((grid.height, grid.width), window)
            else:
                maps[channel] = self._read_static(static.series, window)
        return maps

    def forcings(self, window: Window, times: Times, init: Time) -> Float32Array:
        """Read the channels with a date (t, f, y, x), knowing what was known at ``init``.

        Raises:
            ValueError: a forcing that has to be known is not in the cube at some time.
        """
        step = self.open().step
        channels = self.stack.channels.forcings
        frames = np.empty((len(times), len(channels), *window.shape), dtype=np.float32)
        for forcing, channel in zip(self.stack.forcings, channels.slices, strict=True):
            if forcing.series is None:
                frames[:, channel] = seasonal_encoding(step, times)[:, :, None, None]
            else:
                values = self._read_forcing(forcing, forcing.series, window, times, init)
                frames[:, channel] = values[:, None]
        return frames

    def _read_static(self, series: VariableSpec, window: Window) -> Float32Array:
        frame = self.open().read(series.variable, window)[None]
        static: Float32Array = self.chain(series, window).forward(frame, TimeAxis.undated())[0]
        return np.nan_to_num(static)

    def _read_forcing(
        self,
        forcing: ForcingSpec,
        series: VariableSpec,
        window: Window,
        times: Times,
        init: Time,
    ) -> Float32Array:
        """Read one forcing (t, y, x), following its policy where it was not known yet."""
        cube = self.open()
        dates = resolve_forcing(
            forcing, cube.dates[series.variable], cube.step, times, init
        ).times
        values = np.zeros((len(times), *window.shape), dtype=np.float32)
        if len(dates):  # what was not known is not even read
            values[: len(dates)] = self._normalized(series, window, dates)
        return np.nan_to_num(values)

    def _normalized(self, series: VariableSpec, window: Window, times: Times) -> Float32Array:
        values = self.open().read(series.variable, window, times)
        return self.chain(series, window).forward(values, self.axis(times))


@lru_cache(maxsize=8)
def _open_cube(path: Path, _committed_ns: int) -> Cube:
    return Cube.open(path)


def seasonal_encoding(step: Step, times: Times) -> Float32Array:
    """Compute sine and cosine of the time of year (t, 2)."""
    cycle = CalendarCycle.of(step)
    angle = _TAU * (cycle.time_of_year(times) + 0.5) / cycle.n_times_of_year
    return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def pixel_position(shape: tuple[int, int], window: Window) -> list[Float32Array]:
    """Compute row and column from -1 to 1 over the whole grid, each (y, x)."""
    rows = np.linspace(-1, 1, shape[0], dtype=np.float32)[window.y0 : window.y1]
    cols = np.linspace(-1, 1, shape[1], dtype=np.float32)[window.x0 : window.x1]
    return [
        np.broadcast_to(rows[:, None], window.shape),
        np.broadcast_to(cols[None, :], window.shape),
    ]
