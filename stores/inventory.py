"""The inventory of an archive: every block of every file read, before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from odc.geo.geobox import GeoBox

from stores.archive import FoundFile, SourceVariable
from stores.errors import ArchiveError
from stores.formatting import abbreviate, pluralize
from stores.grid import describe_grid
from stores.header_checks import check_source_grid
from stores.names import resolve_under
from stores.outliers import OutlierReport, find_outliers
from stores.problems import Problem, find_problems
from stores.progress import ProgressCallback
from stores.readers import READERS, is_readable, pick_reader
from stores.series import FileListing, FileSeries, ScannedFile, list_series_files, scan_file
from stores.times import Step, Time

_MAX_HEADERS_TRIED = 3  # files of a variable, until a header can be read
_THREADS = 4  # GDAL and hashlib let go of the interpreter while they work


@dataclass(frozen=True)
class Inventory:
    """Everything that is known about an archive; nothing is refused before ``check``."""

    root: Path
    step: Step
    series: Mapping[str, FileSeries]

    def problems(self) -> list[Problem]:
        """List what is wrong, variable by variable."""
        return [
            problem
            for series in self.series.values()
            for problem in find_problems(series, self.root)
        ]

    def check(self, accept_gaps: bool = False) -> None:
        """Refuse an archive that does not hold what the recipe says it holds.

        Args:
            accept_gaps: missing, unreadable and empty steps become invalid frames instead.

        Raises:
            ArchiveError: names every problem with its date and file, and a way out.
        """
        refused = [p for p in self.problems() if not (p.is_gap and accept_gaps)]
        if refused:
            lines = "\n".join(f"  {problem}" for problem in refused)
            n_problems = pluralize(len(refused), "problem")
            raise ArchiveError(
                f"archive {self.root} cannot be ingested, {n_problems}:\n{lines}"
            )

    def find_outliers(self) -> list[OutlierReport]:
        """List frames that are unlike the others of their season: no reason to refuse them."""
        return [finding for series in self.series.values() for finding in find_outliers(series)]

    def unapplied(self) -> list[str]:
        """List what files say of a scale or an offset that is not applied."""
        return [text for series in self.series.values() for text in _describe_unapplied(series)]

    def rows(self) -> list[dict[str, str]]:
        """Return one row per variable for a printed table."""
        return [_row(series) for series in self.series.values()]


def scan_archive(
    root: Path,
    variables: Iterable[SourceVariable],
    step: Step,
    *,
    start: Time | None = None,
    end: Time | None = None,
    on_progress: ProgressCallback | None = None,
) -> Inventory:
    """Find the files of every variable, digest them and read all their blocks.

    Args:
        root: folder of the archive.
        variables: what is looked for.
        step: distance between two frames.
        start: first date; of each variable its first file by default.
        end: last date; of each variable its last file by default.
        on_progress: called with the files done and in all.

    Raises:
        ArchiveError: there is no archive, or a pattern cannot be understood.
    """
    listings = list_archive(root, variables, step, start=start, end=end)
    for listing in listings:
        _check_readers(listing)
    jobs = [(root, listing.variable, file) for listing in listings for file in listing.files]
    scanned = iter(_scan_all(jobs, on_progress))
    series = {
        listing.variable.name: listing.with_scans([next(scanned) for _ in listing.files])
        for listing in listings
    }
    return Inventory(root, step, series)


def list_archive(
    root: Path,
    variables: Iterable[SourceVariable],
    step: Step,
    *,
    start: Time | None = None,
    end: Time | None = None,
) -> list[FileListing]:
    """List the files of every variable and when one is due; none is opened.

    Raises:
        ArchiveError: there is no archive, or a pattern cannot be understood.
    """
    if not root.is_dir():
        raise ArchiveError(
            f"archive.root {root} is no folder, so it holds no files; correct it"
        )
    bounds = tuple(None if time is None else step.floor(time) for time in (start, end))
    return [list_series_files(root, variable, step, bounds) for variable in variables]  # type: ignore[arg-type]


def check_sources(
    root: Path, variables: Iterable[SourceVariable], step: Step, grid: GeoBox
) -> None:
    """Refuse what cannot come onto a cube's grid, by one header of each variable.

    What is missing or cannot be read is left to the inventory, which names all of it.

    Raises:
        GridError: a variable lies beside the grid, or is too fine for it.
    """
    for listing in list_archive(root, variables, step):
        name = listing.variable.name
        for file in listing.files[:_MAX_HEADERS_TRIED]:
            with suppress(ArchiveError, OSError):
                path = resolve_under(root, file.name)
                header = pick_reader(path).read_header(path, listing.variable)
                check_source_grid(header.grid, grid, what=f"variable {name!r}")
                break


def _check_readers(listing: FileListing) -> None:
    """Refuse by name what no reader understands; a reader is chosen by the file's suffix."""
    unsupported = [f.name for f in listing.files if not is_readable(f.name)]
    if unsupported:
        raise ArchiveError(
            f"{listing.variable.name}: {len(unsupported)} files are no GeoTIFFs "
            f"({abbreviate(unsupported)}), so they cannot be read; name files that end in "
            f"{', '.join(READERS)}"
        )


def _scan_all(
    jobs: list[tuple[Path, SourceVariable, FoundFile]], on_progress: ProgressCallback | None
) -> list[ScannedFile]:
    scanned = []
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="inventory") as pool:
        for file in pool.map(lambda job: scan_file(*job), jobs):
            scanned.append(file)
            if on_progress is not None:
                on_progress(len(scanned), len(jobs))
    return scanned


def _describe_unapplied(series: FileSeries) -> Iterator[str]:
    """Describe once per series that its values stay as they are in spite of such tags."""
    tagged = (file for file in series.files if file.scan and file.scan.header.unapplied)
    first = next(tagged, None)
    if first is None or first.scan is None:
        return
    yield (
        f"{series.variable.name}: the tags {abbreviate(list(first.scan.header.unapplied))} of "
        f"{first.name} are not applied, since only GDAL's own scale and offset are, so "
        f"values are the numbers of the file, whatever units={series.variable.units!r} says; "
        "if the tags are right, write them where GDAL looks: "
        "gdal_edit.py -scale 0.5 -offset -32 FILE, with their numbers"
    )


def _row(series: FileSeries) -> dict[str, str]:
    """Describe a series in words and numbers, each short enough for a column."""
    counts = series.pixel_counts
    dates = [file.time for file in series.files]
    digests = "".join(file.digest for file in series.files)
    valid_percent = 100 * counts.valid / counts.size if counts.size else 0.0
    is_valid = counts.valid > 0
    return {
        "variable": series.variable.name,
        "cadence": series.cadence,
        "files": str(len(series.files)),
        "first": series.label(dates[0]) if dates else "",
        "last": series.label(dates[-1]) if dates else "",
        "gaps": str(len(series.missing)),
        "duplicates": str(len(series.duplicates)),
        "unreadable": str(sum(file.error is not None for file in series.files)),
        "empty": str(sum(file.is_empty for file in series.files)),
        "off grid": str(len(series.off_grid)),
        "undated": str(len(series.undated)),
        "grid": describe_grid(series.grid) if series.grid else "",
        **_declared(series),
        "valid %": f"{valid_percent:.2f}",
        "outside": str(counts.outside),
        "infinite": str(counts.infinite),
        "outliers": str(sum(len(finding.outliers) for finding in find_outliers(series))),
        "minimum": f"{counts.minimum:.6g}" if is_valid else "",
        "maximum": f"{counts.maximum:.6g}" if is_valid else "",
        "digest": hashlib.sha256(digests.encode()).hexdigest()[:12],
    }


def _declared(series: FileSeries) -> dict[str, str]:
    """List which number types and markers the files declare, each that occurs."""
    headers = [file.scan.header for file in series.files if file.scan]
    markers = [
        f"{', '.join(f'{m:g}' for m in h.nodata)} ({h.nodata_from})"
        if h.nodata_from
        else "none"
        for h in headers
    ]
    scales = [f"x {h.scale:g} + {h.offset:g}" for h in headers if (h.scale, h.offset) != (1, 0)]
    bands = [f"{series.variable.band} of {h.n_bands}" for h in headers if h.n_bands > 1]
    return {
        "band": " or ".join(dict.fromkeys(bands)),
        "dtype": " or ".join(dict.fromkeys(h.dtype for h in headers)),
        "nodata": " or ".join(dict.fromkeys(marker.strip() for marker in markers)),
        "scale": " or ".join(dict.fromkeys(scales)),
    }
