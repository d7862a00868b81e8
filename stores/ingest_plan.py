"""The plan of an ingest: which frames are new, which are known, and which have changed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from stores import grid as grids
from stores.append import ExistingCube, PlannedFrame, find_conflicts
from stores.archive import Cadence, SourceVariable
from stores.cube import Cube
from stores.cube_inputs import GAP, CubeInputs, describe_variable, load_inputs, variable_dates
from stores.errors import ArchiveError
from stores.gdal import CACHE_BYTES
from stores.header_checks import check_source_grid
from stores.inventory import Inventory
from stores.layout import Layout, plan_layout
from stores.regrid import BLOCK_PX
from stores.series import FileSeries, ScannedFile
from stores.times import YEARLY, Step, Times
from stores.warp import is_same_grid, pick_resampling

_ITEM_BYTES = 4  # float32
_STORED_BYTES = 8  # the largest number of a file
_BYTES_PER_PX = 64  # of a block: as stored, as float32, its flags, and the warper's copies

STATIC = "static"
"""Key of the one frame of a static variable."""


@dataclass(frozen=True, slots=True)
class PlannedVariable:
    """A variable as the cube will hold it."""

    source: SourceVariable
    cadence: Cadence
    resampling: str
    """``as is`` where the files lie on the cube's grid."""
    source_px: int
    """Pixels of one file's grid."""


@dataclass(frozen=True, eq=False)
class IngestPlan:
    """Everything an ingest will do; nothing is written before ``prepare_cube``."""

    path: Path
    root: Path
    """The archive's."""
    title: str
    grid: GeoBox
    step: Step
    times: Times
    """The time axis of the cube after the commit: dates of all variables together [s]."""
    years: tuple[int, ...]
    layout: Layout
    variables: tuple[PlannedVariable, ...]
    frames: tuple[PlannedFrame, ...]
    """What is to be written."""
    conflicts: tuple[str, ...]
    inputs: CubeInputs
    """What the cube is made of after the commit."""
    base_version: str | None
    """Version that is there now."""

    @property
    def version(self) -> str:
        """Version of the cube after the commit."""
        return self.inputs.version

    @property
    def dates(self) -> dict[str, Times]:
        """Of each variable, the dates that it will have [s]."""
        return variable_dates(self.inputs)

    @property
    def is_empty(self) -> bool:
        """Return whether the cube is as it should be already."""
        return self.version == self.base_version

    @property
    def frame_bytes(self) -> int:
        """Size of one frame in memory."""
        return self.grid.height * self.grid.width * 4

    @property
    def task_bytes(self) -> int:
        """Memory of the task that writes one frame, at most, beside libraries."""
        largest = max(variable.source_px for variable in self.variables)
        return task_bytes(self.layout, largest)

    @property
    def n_shards(self) -> int:
        """Files that will be written."""
        return len(self.frames) * len(
            self.layout.shard_windows((self.grid.height, self.grid.width))
        )

    def check(self) -> None:
        """Refuse what would change frames that forecasts may have used already.

        Raises:
            ArchiveError: names the dates and a way out.
        """
        if self.conflicts:
            lines = "\n".join(f"  {line}" for line in self.conflicts)
            raise ArchiveError(f"cube {self.path} cannot take this archive:\n{lines}")

    def rows(self) -> list[dict[str, str]]:
        """Return one row per variable for a printed table."""
        return [self._row(variable) for variable in self.variables]

    def _row(self, variable: PlannedVariable) -> dict[str, str]:
        name = variable.source.name
        new = [frame for frame in self.frames if frame.variable == name]
        _, rows, cols = self.layout.chunk
        return {
            "variable": name,
            "cadence": variable.cadence,
            "new": str(len(new)),
            "known": str(len(self.inputs.variables[name].frames) - len(new)),
            "gaps": str(sum(frame.file is None for frame in new)),
            "first": new[0].key if new else "",
            "last": new[-1].key if new else "",
            "resampling": variable.resampling,
            "chunk": f"{rows} x {cols} px",
            "shard": f"{self.layout.shard[1]} x {self.layout.shard[2]} px",
            "bytes": str(len(new) * self.frame_bytes),
        }


def task_bytes(layout: Layout, source_px: int) -> int:
    """Estimate the memory of the task that writes one frame, at most, beside libraries [B].

    It holds one shard as values, and as chunks that are being compressed, parts of the source
    and what GDAL has decoded; none of it grows with the raster. A file whose own blocks are
    larger than ``READ_PX`` (one block for all rows, say) takes what GDAL needs for one more.
    """
    shard = math.prod(layout.shard) * _ITEM_BYTES
    cache = min(CACHE_BYTES, source_px * _STORED_BYTES)
    return cache + 3 * shard + min(BLOCK_PX, source_px) * _BYTES_PER_PX


def plan_ingest(
    inventory: Inventory, grid: GeoBox, path: Path, *, title: str = ""
) -> IngestPlan:
    """Compare an archive with the cube at ``path`` and list the frames that are new.

    Gaps of the inventory become invalid frames; ``inventory.check`` says whether they may.
    Changed frames are listed in ``conflicts`` and stop ``prepare_cube``.

    Raises:
        ArchiveError: the archive holds what no recipe can accept.
        GridError: a raster lies off the grid, or the cube there lies on another one.
    """
    inventory.check(accept_gaps=True)
    existing = _load_existing(path, grid, inventory.step)
    series = tuple(inventory.series.values())
    times, years = _axes(series, existing, inventory.step)
    expected = [frame for s in series for frame in _expected_frames(s, times, years)]
    inputs = _plan_inputs(series, expected, existing)
    new = tuple(frame for frame in expected if frame.key not in existing.frames(frame.variable))
    return IngestPlan(
        path=path,
        root=inventory.root,
        title=title or f"{', '.join(inventory.series)} every {inventory.step}",
        grid=grid,
        step=inventory.step,
        times=times,
        years=years,
        layout=plan_layout((grid.height, grid.width)),
        variables=tuple(_plan_variable(s, grid) for s in series),
        frames=new,
        conflicts=tuple(find_conflicts(expected, inputs, existing)),
        inputs=inputs,
        base_version=existing.version,
    )


def _load_existing(path: Path, grid: GeoBox, step: Step) -> ExistingCube:
    if not path.exists():
        empty = CubeInputs(grids.grid_fingerprint(grid), str(step), {})
        return ExistingCube(None, empty, np.array([], dtype="datetime64[s]"), ())
    cube = Cube.open(path)
    hint = (
        f"cube {path} serves all recipes of its root, so state its grid in the recipe, or "
        "ingest into a new root with --root"
    )
    grids.check_same_grid(grid, cube.grid, what="the recipe's grid", hint=hint)
    if cube.step != step:
        raise ArchiveError(
            f"archive.step={step} is not the step of cube {path} ({cube.step}), so its frames "
            "would not line up; ingest into a new root with --root"
        )
    annual = (name for name, variable in cube.variables.items() if variable.cadence == "annual")
    years = tuple(sorted({year for name in annual for year in cube.years(name)}))
    return ExistingCube(cube.version, load_inputs(path, cube.version), cube.times, years)


def _axes(
    series: tuple[FileSeries, ...], existing: ExistingCube, step: Step
) -> tuple[Times, tuple[int, ...]]:
    """Lay out time and year: what exists keeps its index, later dates follow."""
    dated = [files.times for files in series if files.cadence == "step"]
    dates = np.concatenate([existing.times, *dated])
    if not len(dates):
        raise ArchiveError(
            "no variable has a file per step, so the cube would have no time axis; "
            "write {time:...} where the date stands in 'files'"
        )
    first = existing.times[0] if len(existing.times) else dates.min()
    years = {
        _year_of(file) for files in series if files.cadence == "annual" for file in files.files
    }
    new_years = [
        year for year in sorted(years) if not existing.years or year > existing.years[-1]
    ]
    return step.range(first, dates.max()), (*existing.years, *new_years)


def _expected_frames(
    series: FileSeries, times: Times, years: tuple[int, ...]
) -> Iterator[PlannedFrame]:
    """List the frames that a variable should have, in order; index -1 is off the axis."""
    name = series.variable.name
    if series.cadence == "static":
        yield _frame(name, STATIC, None, series.files[0])
    elif series.cadence == "annual":
        for file in series.files:
            if file.has_valid_pixels:
                year = _year_of(file)
                index = years.index(year) if year in years else -1
                yield _frame(name, str(year), index, file)
    else:
        index_by_time = {time: index for index, time in enumerate(times)}
        for time in series.times:
            key = str(time.astype(f"datetime64[{series.step.numpy_unit}]"))
            usable = [file for file in series.by_time.get(time, []) if file.has_valid_pixels]
            yield _frame(name, key, index_by_time.get(time, -1), *usable[:1])


def _frame(
    name: str, key: str, index: int | None, file: ScannedFile | None = None
) -> PlannedFrame:
    """Plan a frame that is made of a file, or a gap."""
    if file is None or file.scan is None:
        return PlannedFrame(name, key, index, None, GAP)
    counts = file.scan.counts
    return PlannedFrame(
        name, key, index, file.name, file.digest, counts.outside, counts.infinite
    )


def _plan_inputs(
    series: tuple[FileSeries, ...], expected: list[PlannedFrame], existing: ExistingCube
) -> CubeInputs:
    """Describe what the cube will be made of; variables that are no longer requested stay."""
    variables = dict(existing.inputs.variables)
    for files in series:
        name = files.variable.name
        frames = {frame.key: frame.digest for frame in expected if frame.variable == name}
        described = describe_variable(files.variable, files.cadence)
        variables[name] = replace(described, frames={**existing.frames(name), **frames})
    return replace(existing.inputs, variables=variables)


def _plan_variable(series: FileSeries, grid: GeoBox) -> PlannedVariable:
    """Choose how a variable comes onto the grid, and check that they overlap."""
    variable = series.variable
    source = series.grid
    assert source is not None  # the inventory was checked: some file is usable
    resampling = pick_resampling(
        variable.resampling, source, grid, is_classes=variable.is_classes
    )
    n_px = source.height * source.width
    if is_same_grid(source, grid):
        return PlannedVariable(variable, series.cadence, "as is", n_px)
    check_source_grid(source, grid, what=f"variable {variable.name!r}")
    return PlannedVariable(variable, series.cadence, resampling, n_px)


def _year_of(file: ScannedFile) -> int:
    assert file.time is not None  # annual files are dated
    return int(YEARLY.label(file.time))
