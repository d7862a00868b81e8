"""A series: the files of one variable, every block read, and the dates on which one is due."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from stores.archive import Cadence, FoundFile, Pattern, SourceVariable, find_files
from stores.errors import ArchiveError
from stores.geotiff import FileScan, PixelCounts
from stores.names import resolve_under
from stores.readers import pick_reader
from stores.times import YEARLY, Step, Time, Times
from stores.warp import is_same_grid


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """One file of a series and what reading it found."""

    name: str
    time: Time | None
    digest: str = ""
    scan: FileScan | None = None
    error: str | None = None
    """Why it cannot be read."""

    @property
    def is_empty(self) -> bool:
        """Return whether the file could be read and no pixel is valid."""
        return self.scan is not None and self.scan.counts.valid == 0

    @property
    def has_valid_pixels(self) -> bool:
        """Return whether the file holds at least one valid pixel."""
        return self.scan is not None and not self.is_empty


@dataclass(frozen=True)
class FileSeries:
    """All files of one variable, and the dates on which one is due."""

    variable: SourceVariable
    cadence: Cadence
    step: Step
    files: tuple[ScannedFile, ...]
    undated: tuple[FoundFile, ...]
    """Files whose name holds no date of the series."""
    times: Times
    """Every date that is due, from the first to the last [s]; empty for static variables."""

    @cached_property
    def by_time(self) -> Mapping[Time | None, list[ScannedFile]]:
        """Group the files by date."""
        groups: dict[Time | None, list[ScannedFile]] = defaultdict(list)
        for file in self.files:
            groups[file.time].append(file)
        return dict(groups)

    @cached_property
    def missing(self) -> list[Time]:
        """List the dates without a file."""
        return [time for time in self.times if time not in self.by_time]

    @cached_property
    def duplicates(self) -> list[list[ScannedFile]]:
        """List the files that stand for one date together."""
        return [files for files in self.by_time.values() if len(files) > 1]

    @cached_property
    def grid(self) -> GeoBox | None:
        """Return the grid on which most files lie; of equally many, that of the earlier."""
        distinct: list[GeoBox] = []
        counts: Counter[int] = Counter()
        for grid in (file.scan.header.grid for file in self.files if file.scan):
            same = (i for i, known in enumerate(distinct) if is_same_grid(known, grid))
            index = next(same, len(distinct))
            if index == len(distinct):
                distinct.append(grid)
            counts[index] += 1
        return distinct[counts.most_common(1)[0][0]] if counts else None

    @cached_property
    def off_grid(self) -> list[ScannedFile]:
        """List the files that lie on another grid than most."""
        grid = self.grid
        return [
            f
            for f in self.files
            if grid and f.scan and not is_same_grid(f.scan.header.grid, grid)
        ]

    @property
    def pixel_counts(self) -> PixelCounts:
        """Add up the pixels of all files."""
        return sum((file.scan.counts for file in self.files if file.scan), PixelCounts())

    def label(self, time: Time | None) -> str:
        """Return the label of a date of this series; a static map has none."""
        return date_label(time, self.cadence, self.step)


@dataclass(frozen=True, slots=True)
class FileListing:
    """The files of a variable before any is opened."""

    variable: SourceVariable
    cadence: Cadence
    step: Step
    files: tuple[FoundFile, ...]
    undated: tuple[FoundFile, ...]
    times: Times

    def with_scans(self, files: Iterable[ScannedFile]) -> FileSeries:
        """Build the series with the scanned files instead of the found ones."""
        return FileSeries(
            self.variable, self.cadence, self.step, tuple(files), self.undated, self.times
        )


def date_label(time: Time | None, cadence: Cadence, step: Step) -> str:
    """Write the date of a frame for people, as coarse as its cadence; one may be static."""
    if time is None:
        return "static"
    return (YEARLY if cadence == "annual" else step).format(time)


def list_series_files(
    root: Path, variable: SourceVariable, step: Step, bounds: tuple[Time | None, Time | None]
) -> FileListing:
    """List a variable's files and when one is due; bounds, where given, cut and extend."""
    cadence = Pattern(variable.files).cadence(step)
    spacing = YEARLY if cadence == "annual" else step
    start, end = bounds if cadence == "step" else (None, None)
    found_files = find_files(root, variable, step)
    on_phase, undated = _split_by_phase(found_files, spacing, start)
    kept = [file for file in on_phase if _within(file.time, start, end)]
    dated = [file.time for file in kept if file.time is not None]
    times: Times = np.array([], dtype="datetime64[s]")
    if dated:
        first = dated[0] if start is None else spacing.floor(start)
        times = spacing.range(first, max(dated) if end is None else spacing.floor(end))
    return FileListing(variable, cadence, step, tuple(kept), tuple(undated), times)


def scan_file(root: Path, variable: SourceVariable, file: FoundFile) -> ScannedFile:
    """Read every block of one file; what cannot be read is written down, not raised."""
    path = resolve_under(root, file.name)
    digest = ""
    try:
        reader = pick_reader(path)
        digest = reader.digest_raster(path)
        return ScannedFile(file.name, file.time, digest, reader.scan(path, variable))
    except (ArchiveError, OSError) as error:
        return ScannedFile(file.name, file.time, digest, error=str(error))


def _split_by_phase(
    files: list[FoundFile], spacing: Step, start: Time | None
) -> tuple[list[FoundFile], list[FoundFile]]:
    """Split the files that lie on the series from those whose date is none of it."""
    dated = [file for file in files if file.error is None]
    undated = [file for file in files if file.error is not None]
    phases = [_phase(file.time, spacing) for file in dated]
    if not phases:
        return dated, undated
    phase = Counter(phases).most_common(1)[0][0] if start is None else _phase(start, spacing)
    for file, file_phase in zip(dated, phases, strict=True):
        if file_phase != phase:
            error = f"{spacing.format(file.time)} lies between two frames of step {spacing}"  # type: ignore[arg-type]
            undated.append(FoundFile(file.name, file.time, error))
    return [
        f for f, file_phase in zip(dated, phases, strict=True) if file_phase == phase
    ], undated


def _phase(time: Time | None, spacing: Step) -> int:
    """Return where in a step of several units a date lies."""
    return 0 if time is None else spacing.phase_of(time)


def _within(time: Time | None, start: Time | None, end: Time | None) -> bool:
    if time is None:
        return True
    return bool((start is None or time >= start) and (end is None or time <= end))
