"""The cube: variables on one grid, read by window and date, NaN where invalid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from odc.geo.geobox import GeoBox

from stores import grid as grids
from stores.archive import Cadence
from stores.array_types import Float32Array
from stores.arrays import get_array, open_group
from stores.errors import CorruptError
from stores.names import TIME, YEAR
from stores.retry import file_exists, read_with_retry, reraise_as_corrupt
from stores.times import Step, Time, Times, parse_time, to_times
from stores.windows import Window

CUBE = "cube.zarr"
"""Name of the cube in a store's root."""
_HINT = "ingest into a new root"

# Attributes of the root group; what stands there changes with the commit and not before.
STEP_KEY = "cubecast_step"
GRID_KEY = "cubecast_grid"
VERSION_KEY = "cubecast_version"
COVERAGE_KEY = "cubecast_coverage"
KIND_KEY = "cubecast_kind"


@dataclass(frozen=True, slots=True)
class CubeVariable:
    """One variable of a cube."""

    name: str
    cadence: Cadence
    units: str
    long_name: str = ""
    standard_name: str | None = None
    is_classes: bool = False


@dataclass(frozen=True)
class Cube:
    """A cube as its last commit left it when it was opened; later commits do not show.

    Reading is safe from many threads. Workers open it by its path.
    """

    path: Path
    grid: GeoBox
    step: Step
    times: Times = field(repr=False)
    """Dates of the time axis, without a hole: those of all variables together [s]."""
    version: str
    """Equal versions hold equal numbers."""
    variables: Mapping[str, CubeVariable]
    dates: Mapping[str, Times] = field(repr=False, compare=False)
    """Of each variable, the dates it has: of its frames, or the first days of its years [s]."""
    _index_by_date: Mapping[str, Mapping[Any, int]] = field(repr=False, compare=False)
    """Of each variable, the dates (years) it has and their index in the array."""
    _arrays: Mapping[str, zarr.Array[Any]] = field(repr=False, compare=False)

    @classmethod
    def open(cls, path: Path) -> Cube:
        """Open a cube for reading.

        Raises:
            CorruptError: there is no committed cube at ``path``.
        """
        with reraise_as_corrupt(
            path, "restore zarr.json from a copy, or ingest into a new root"
        ):
            return cls._open(path)

    @classmethod
    def _open(cls, path: Path) -> Cube:
        group = open_group(path)
        attributes: dict[str, Any] = dict(group.attrs)
        if VERSION_KEY not in attributes:
            raise CorruptError(
                f"{path} is a Zarr group but no cube (it has no {VERSION_KEY!r}), so its grid "
                "and dates are unknown; ingest an archive with 'cubecast ingest'"
            )
        step = Step.parse(str(attributes[STEP_KEY]))
        times = step.decode(np.asarray(get_array(group, TIME)[...]))
        step = step.of_series(times[0]) if len(times) else step
        arrays = {name: get_array(group, name) for name in attributes[COVERAGE_KEY]}
        index_by_date = _index_dates(group, step, times, attributes[COVERAGE_KEY])
        return cls(
            path=path,
            grid=grids.from_json(attributes[GRID_KEY]),
            step=step,
            times=times,
            version=str(attributes[VERSION_KEY]),
            variables={name: _variable(name, array) for name, array in arrays.items()},
            dates={name: to_times(index) for name, index in index_by_date.items()},
            _index_by_date=index_by_date,
            _arrays=arrays,
        )

    def years(self, name: str) -> list[int]:
        """List the years of an annual variable."""
        if self.variable(name).cadence != "annual":
            raise ValueError(
                f"variable {name!r} is not annual, so it has no years; ask step_times"
            )
        return list(self._index_by_date[name])

    def step_times(self, name: str) -> Times:
        """List the dates of a variable with a frame per step; not all have every date."""
        if self.variable(name).cadence != "step":
            raise ValueError(f"variable {name!r} has no frame per step, so it has no dates")
        return self.dates[name]

    def variable(self, name: str) -> CubeVariable:
        """Look a variable up.

        Raises:
            KeyError: the cube has no such variable.
        """
        if name not in self.variables:
            known = ", ".join(self.variables)
            raise KeyError(f"cube {self.path} has no variable {name!r}; it has {known}")
        return self.variables[name]

    def read(self, name: str, window: Window, times: Times | None = None) -> Float32Array:
        """Read frames of a window (t, y, x), or a static map (y, x); NaN is invalid.

        Args:
            name: variable.
            window: pixels inside the grid.
            times: dates in any order; all the variable has by default. Annual variables give
                the map of each date's year; static ones have no dates.

        Raises:
            ValueError: the cube has no frame of a date, or the window leaves the grid.
            CorruptError: bytes are missing or altered.
            OSError: the system cannot read them, also when asked again.
        """
        cadence = self.variable(name).cadence
        shape = (self.grid.height, self.grid.width)
        if not Window.from_shape(shape).contains(window):
            raise ValueError(f"window {window} leaves the cube's grid {shape}; clip it first")
        array = self._arrays[name]
        if cadence == "static":
            return self._load(array, (), window)
        indices = self.frame_indices(name, times)
        if indices and indices == list(range(indices[0], indices[0] + len(indices))):
            return self._load(array, (slice(indices[0], indices[-1] + 1),), window)
        frames = {i: self._load(array, (slice(i, i + 1),), window)[0] for i in set(indices)}
        empty = np.empty((0, *window.shape), dtype=np.float32)
        return np.stack([frames[index] for index in indices]) if indices else empty

    def read_indices(self, name: str, window: Window, start: int, stop: int) -> Float32Array:
        """Read frames ``[start:stop]`` of the array (t, y, x); a static map is ``[0:1]``."""
        if self.variable(name).cadence == "static":
            return self._load(self._arrays[name], (), window)[None]
        return self._load(self._arrays[name], (slice(start, stop),), window)

    def chunk_shape(self, name: str) -> tuple[int, int, int]:
        """Return what is decoded together: frames, rows and columns [px]."""
        *frames, rows, cols = self._arrays[name].chunks
        return (frames[0] if frames else 1), rows, cols

    def frame_indices(self, name: str, times: Times | None = None) -> list[int]:
        """Find the indices of dates in the array of a variable; all it has by default.

        Raises:
            ValueError: the cube has no frame of a date.
        """
        index_by_date = self._index_by_date[name]
        if times is None:
            return list(index_by_date.values())
        annual = self.variable(name).cadence == "annual"
        indices = []
        for time in times.astype("datetime64[s]"):
            index = index_by_date.get(_year(time) if annual else time)
            if index is None:
                raise ValueError(self._describe_missing_frame(name, time))
            indices.append(index)
        return indices

    def frame_files(self, name: str, times: Times | None = None) -> list[str]:
        """List the files that hold frames of a variable, by their paths in the cube."""
        array = self._arrays[name]
        *frames, rows, cols = array.shards or array.chunks
        grid = Window.from_shape((self.grid.height, self.grid.width))
        in_space = [(w.y0 // rows, w.x0 // cols) for w in grid.blocks(rows, cols)]
        in_time: list[tuple[int, ...]] = [()]
        if frames:
            indices = self.frame_indices(name, times)
            in_time = [(i,) for i in sorted({index // frames[0] for index in indices})]
        files = (chunk_file(self.path, array, (*t, *yx)) for t in in_time for yx in in_space)
        return [file.relative_to(self.path).as_posix() for file in files]

    def decode_all(self, name: str) -> None:
        """Decode all frames of a variable, shard by shard, which proves their checksums.

        Raises:
            CorruptError: bytes are missing or altered.
        """
        array = self._arrays[name]
        rows, cols = (array.shards or array.chunks)[-2:]
        is_static = self.variable(name).cadence == "static"
        for window in Window.from_shape((self.grid.height, self.grid.width)).blocks(rows, cols):
            for index in [0] if is_static else self.frame_indices(name):
                self.read_indices(name, window, index, index + 1)

    def _describe_missing_frame(self, name: str, time: Time) -> str:
        dates = [str(date) for date in self._index_by_date[name]]
        return (
            f"cube {self.path} has no frame of {name!r} for {self.step.format(time)}; it has "
            f"{dates[0]} to {dates[-1]}; ingest that date or ask for others"
        )

    def _load(
        self, array: zarr.Array[Any], frames: tuple[slice, ...], window: Window
    ) -> Float32Array:
        index = (*frames, *window.slices)

        def read() -> Float32Array:
            check_files_exist(self.path, array, index, _HINT)
            return np.asarray(array[index], dtype=np.float32)

        what = f"{array.basename} of cube {self.path} at {window}"
        return read_with_retry(read, what=what, hint=_HINT)


def check_files_exist(
    path: Path, array: zarr.Array[Any], index: Sequence[Any], hint: str
) -> None:
    """Refuse to read where files are missing: Zarr would take them for NaN.

    Raises:
        CorruptError: names the file.
    """
    edges = array.shards or array.chunks
    chunk_ranges = (
        range(axis_index.start // edge, math.ceil(axis_index.stop / edge))
        if isinstance(axis_index, slice)
        else (axis_index // edge,)
        for axis_index, edge in zip(index, edges, strict=True)
    )
    for chunk_index in itertools.product(*chunk_ranges):
        file = chunk_file(path, array, chunk_index)
        if not file_exists(file):
            raise CorruptError(
                f"{path} lacks {file.relative_to(path)}, so what it held would read as invalid "
                f"pixels; {hint}"
            )


def chunk_file(path: Path, array: zarr.Array[Any], chunk_index: Sequence[int]) -> Path:
    """Return the file that holds one shard (chunk, where there are none) of an array."""
    encoding = array.metadata.chunk_key_encoding  # type: ignore[union-attr]
    return path / array.basename / str(encoding.encode_chunk_key(tuple(chunk_index)))


def _variable(name: str, array: zarr.Array[Any]) -> CubeVariable:
    attributes: Mapping[str, Any] = array.attrs
    dims = array.metadata.dimension_names or ()  # type: ignore[union-attr]
    cadence: Cadence = "step" if TIME in dims else "annual" if YEAR in dims else "static"
    return CubeVariable(
        name=name,
        cadence=cadence,
        units=attributes.get("units", "1"),
        long_name=attributes.get("long_name", ""),
        standard_name=attributes.get("standard_name"),
        is_classes=attributes.get(KIND_KEY) == "classes",
    )


def _index_dates(
    group: zarr.Group, step: Step, times: Times, coverage: Any
) -> dict[str, dict[Any, int]]:
    """Index the dates of each variable, as the root's attributes state them."""
    years = np.asarray(get_array(group, YEAR)[...]).tolist() if YEAR in group else []
    index_by_time = {time: index for index, time in enumerate(times)}
    index_by_date: dict[str, dict[Any, int]] = {}
    for name, stated in coverage.items():
        if stated == "static":
            index_by_date[name] = {}
        elif "years" in stated:
            index_by_date[name] = {year: years.index(year) for year in stated["years"]}
        else:
            dates = step.range(parse_time(stated["first"]), parse_time(stated["last"]))
            index_by_date[name] = {time: index_by_time[time] for time in dates}
    return index_by_date


def _year(time: Time) -> int:
    return int(time.astype("datetime64[Y]").astype(np.int64)) + 1970
