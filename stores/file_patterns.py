"""Which series a folder of rasters seems to hold, by the names of its files alone."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from stores.archive import Pattern
from stores.errors import ArchiveError
from stores.times import Step, Time

_SUFFIXES = {".tif", ".tiff"}
_RUN = re.compile(r"(\d+)")
_WIDTH = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2}  # from coarse to fine
_UNITS = {"Y": "year", "m": "month", "d": "day", "H": "hour", "M": "minute", "S": "second"}
_MAX_FILES = 1_000_000

Names = Sequence[str]


@dataclass(frozen=True, slots=True)
class FilePatternGroup:
    """Files that differ by their dates alone, or one file without a date."""

    files: str
    """Pattern, as a recipe writes it."""
    names: tuple[str, ...]
    """Paths below the archive's root, by date."""
    times: tuple[Time, ...] = ()
    """Dates of the files; none for a map without a date."""
    step: Step | None = None
    """Smallest distance that fits all dates; None without at least two."""

    @property
    def suggested_name(self) -> str:
        """Make a name of the words in the pattern, for the variable."""
        text = re.sub(r"\{time:[^{}]*\}|\d+", " ", self.files).lower()
        folder, _, stem = text.rpartition("/")
        words = re.findall(r"[a-z][a-z0-9]*", stem.rsplit(".", 1)[0])
        if not words:
            words = re.findall(r"[a-z][a-z0-9]*", folder.rpartition("/")[2])
        return "_".join(words)[:40].strip("_") or "value"


def group_files(root: Path) -> list[FilePatternGroup]:
    """Group the GeoTIFFs below ``root`` into series, the longest first; no file is opened.

    Raises:
        ArchiveError: there is no GeoTIFF.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in _walk(root):
        groups[_RUN.sub(lambda run: f"#{len(run[0])}", name)].append(name)
    if not groups:
        raise ArchiveError(
            f"{root} holds no file that ends in .tif or .tiff, so there is nothing to "
            "forecast; name the folder of the rasters"
        )
    found = [series for names in groups.values() for series in _read_group(sorted(names))]
    return sorted(found, key=lambda series: (-len(series.times), series.files))


def _walk(root: Path) -> Iterator[str]:
    named = (path for path in root.rglob("*") if path.suffix.lower() in _SUFFIXES)
    paths = (path for path in named if path.is_file())  # a FIFO would be waited for
    for n, path in enumerate(paths):
        if n >= _MAX_FILES:
            raise ArchiveError(
                f"{root} holds more than {_MAX_FILES} rasters, so its names are not surveyed; "
                "name a folder below it, or write the pattern of the files by hand"
            )
        yield path.relative_to(root).as_posix()


def _read_group(names: Names) -> list[FilePatternGroup]:
    """Group files whose names have one shape into a series, or each as a map of its own."""
    parts = [_RUN.split(name) for name in names]
    if len(names) > 1:
        for codes in _assign_date_codes(list(zip(*parts, strict=True)), 1, 0, {}):
            files = _pattern(parts[0], codes)
            name_by_time = _dates(files, names)
            if name_by_time is not None:
                times = tuple(sorted(name_by_time))
                ordered = tuple(name_by_time[time] for time in times)
                return [FilePatternGroup(files, ordered, times, _step(times, "".join(codes)))]
    return [FilePatternGroup(name, (name,)) for name in names]


def _assign_date_codes(
    columns: Sequence[Names], column: int, n_used: int, codes_by_digits: Mapping[Names, str]
) -> Iterator[list[str]]:
    """List the ways to read runs of digits as dates; constant runs need not be dates.

    Args:
        columns: parts of all names: text and digits in turn.
        column: the run of digits to decide on.
        n_used: date codes that earlier runs have used.
        codes_by_digits: earlier runs with their codes; a date may stand twice, as in
            '2000/rain_2000.01'.
    """
    if column >= len(columns):
        yield []
        return
    digits = columns[column]
    for codes, stop in _date_codes_for(digits, n_used, codes_by_digits):
        for rest in _assign_date_codes(
            columns, column + 2, stop, {**codes_by_digits, digits: codes}
        ):
            yield [codes, *rest]


def _date_codes_for(
    digits: Names, n_used: int, codes_by_digits: Mapping[Names, str]
) -> Iterator[tuple[str, int]]:
    """List what a run of digits may be: text, a date that stood before, or the next of it."""
    if len(set(digits)) == 1:
        yield "", n_used
    if codes_by_digits.get(digits):
        yield codes_by_digits[digits], n_used
    order = list(_WIDTH)
    for stop in range(n_used + 1, len(order) + 1):
        if sum(_WIDTH[code] for code in order[n_used:stop]) == len(digits[0]):
            yield "".join(order[n_used:stop]), stop


def _pattern(pieces: Names, codes: Sequence[str]) -> str:
    """Write the pattern in which some runs of digits are dates."""
    text = list(pieces)
    for index, code in enumerate(codes):
        if code:
            text[2 * index + 1] = "{time:" + "".join(f"%{letter}" for letter in code) + "}"
    # One date with its separators reads better than several.
    return re.sub(r"\}([-._T]?)\{time:", r"\1", "".join(text))


def _dates(files: str, names: Names) -> dict[Time, str] | None:
    """Date the names by a pattern; None where one has no date or two have the same."""
    try:
        pattern = Pattern(files)
    except ArchiveError:
        return None
    name_by_time: dict[Time, str] = {}
    for name in names:
        time, error = pattern.parse_date(name)
        if time is None or error is not None or time in name_by_time:
            return None
        name_by_time[time] = name
    return name_by_time


def _step(times: Sequence[Time], codes: str) -> Step | None:
    """Find the largest calendar step on which all dates lie."""
    candidates = (_step_of(times, _UNITS[code]) for code in _WIDTH if code in codes)
    return next((step for step in candidates if step is not None), None)


def _step_of(times: Sequence[Time], unit: str) -> Step | None:
    unit_step = Step(1, unit)
    floors = {unit_step.floor(time) for time in times}
    offsets = {time - unit_step.floor(time) for time in times}
    if len(floors) < len(times) or len(offsets) > 1:
        return None
    distances = [unit_step.steps_between(a, b) for a, b in pairwise(times)]
    return Step(math.gcd(*distances), unit) if distances else None
