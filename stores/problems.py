"""What is wrong with a series, in words that name file, date and a way out."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from odc.geo.geobox import GeoBox

from stores.formatting import abbreviate
from stores.grid import crs_of
from stores.series import FileSeries, ScannedFile
from stores.warp import apply_affine, shift_px

_MAX_SUGGESTIONS = 3
_MAX_SEARCHED = 10_000


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps an archive from being ingested."""

    variable: str
    text: str
    is_gap: bool = False
    """Whether the recipe may accept it: the frame becomes invalid."""

    def __str__(self) -> str:
        return f"{self.variable}: {self.text}"


def find_problems(series: FileSeries, root: Path) -> list[Problem]:
    """List what is wrong with one series; an empty list means that it can be ingested."""
    name = series.variable.name
    may_gap = series.cadence != "static"
    if not series.files and not series.undated:
        return [Problem(name, _no_file(series.variable.files, root))]
    hard = [Problem(name, text) for finder in _FINDERS for text in finder(series)]
    gaps = [Problem(name, text, may_gap) for finder in _GAP_FINDERS for text in finder(series)]
    return hard + gaps


def _no_file(pattern: str, root: Path) -> str:
    folder = PurePosixPath(pattern).parent
    literal = [part for part in folder.parts if not set(part) & set("*?{")]
    base = root.joinpath(*literal) if len(literal) == len(folder.parts) else root
    known = [path for path, _ in zip(root.rglob("*"), range(_MAX_SEARCHED), strict=False)]
    names = [path.relative_to(root).as_posix() for path in known if path.is_file()]
    close_matches = difflib.get_close_matches(pattern, names, n=_MAX_SUGGESTIONS, cutoff=0.4)
    if not base.is_dir():
        finding = f"folder {base} does not exist"
    else:
        finding = f"{base} holds {sum(1 for _ in base.iterdir())} entries and none fits"
    hint = (
        f"near are {abbreviate(close_matches)}"
        if close_matches
        else "no file there has a name that is near"
    )
    return f"no file fits {pattern!r}: {finding}; {hint}; correct 'files' or archive.root"


def _undated(series: FileSeries) -> Iterator[str]:
    if series.undated:
        files = abbreviate([f"{file.name}: {file.error}" for file in series.undated])
        yield (
            f"{len(series.undated)} files stand for no frame of the series ({files}), "
            "so they would be left out; rename or remove them, or narrow 'files'"
        )


def _duplicates(series: FileSeries) -> Iterator[str]:
    for files in series.duplicates:
        names = abbreviate([file.name for file in files])
        if series.cadence == "static":
            yield (
                f"{len(files)} files fit {series.variable.files!r} ({names}), but a static map "
                "is one file; name it, or write {time:%Y} where the date stands"
            )
        else:
            yield (
                f"{series.label(files[0].time)} has {len(files)} files ({names}), so it is "
                "unknown which one holds; remove or rename all but one"
            )


def _unusable(series: FileSeries) -> Iterator[str]:
    if not any(file.has_valid_pixels for file in series.files):
        counts = series.pixel_counts
        yield (
            f"none of {len(series.files)} files holds a valid pixel ({counts.nodata} nodata, "
            f"{counts.outside} outside valid_range, {counts.infinite} infinite), so there is "
            "nothing to ingest; correct the files, 'nodata' or 'valid_range'"
        )


def _missing(series: FileSeries) -> Iterator[str]:
    if series.missing:
        dates = abbreviate([series.label(time) for time in series.missing])
        yield (
            f"{len(series.missing)} of {len(series.times)} dates have no file ({dates}), so "
            f"their frames would be invalid; add the files{_accept_hint(series)}"
        )


def _unreadable(series: FileSeries) -> Iterator[str]:
    for file in series.files:
        if file.error:
            yield (
                f"{series.label(file.time)} ({file.name}) is unreadable: {file.error}; "
                f"fetch the file again{_accept_hint(series)}"
            )


def _empty(series: FileSeries) -> Iterator[str]:
    for file in series.files:
        if file.is_empty:
            yield (
                f"{series.label(file.time)} ({file.name}) has no valid pixel: all are nodata "
                f"or outside valid_range; fetch the file again{_accept_hint(series)}"
            )


def _accept_hint(series: FileSeries) -> str:
    return "" if series.cadence == "static" else ", or accept the gap with archive.gaps: accept"


def _off_grid(series: FileSeries) -> Iterator[str]:
    expected = series.grid
    for file in series.off_grid:
        assert expected is not None  # else nothing is off the grid
        yield (
            f"{series.label(file.time)} ({file.name}) lies elsewhere than most of the series: "
            f"{_describe_grid_difference(file, expected)}, so its pixels would be misplaced; "
            "warp it onto the grid of the others with gdalwarp, or leave it out"
        )


def _describe_grid_difference(file: ScannedFile, expected: GeoBox) -> str:
    assert file.scan is not None  # only scanned files have a grid
    got = file.scan.header.grid
    if crs_of(got) != crs_of(expected):
        return f"its CRS is {_crs_label(got)} and theirs {_crs_label(expected)}"
    if got.shape != expected.shape:
        return f"its shape is {_shape_label(got)} and theirs {_shape_label(expected)}"
    corner = apply_affine(~expected.affine, apply_affine(got.affine, (0, 0)))
    if math.isclose(shift_px(got, expected), math.hypot(*corner), abs_tol=1e-6):
        return f"it is shifted by {corner[0]:+.6g} px in x and {corner[1]:+.6g} px in y"
    return (
        f"its transform is {list(got.affine)[:6]} and theirs {list(expected.affine)[:6]}, "
        f"up to {shift_px(got, expected):.6g} px apart"
    )


def _crs_label(grid: GeoBox) -> str:
    epsg = crs_of(grid).to_epsg()
    return f"EPSG:{epsg}" if epsg else str(crs_of(grid).proj.name)


def _shape_label(grid: GeoBox) -> str:
    return f"{grid.height} x {grid.width} px"


_Finder = Callable[[FileSeries], Iterator[str]]
_FINDERS: tuple[_Finder, ...] = (_undated, _duplicates, _unusable, _off_grid)
_GAP_FINDERS: tuple[_Finder, ...] = (_missing, _unreadable, _empty)
