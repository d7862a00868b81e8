"""Which file of an archive holds which variable when: patterns, dates and cadences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from stores.errors import ArchiveError
from stores.times import HELD, Step, Time, is_held

Cadence = Literal["static", "annual", "step"]

_UNITS = ("year", "month", "day", "hour", "minute", "second")
_CODES = {  # of strftime: what stands in a name, and which units it gives
    "Y": (r"\d{4}", "year"),
    "y": (r"\d{2}", "year"),
    "m": (r"\d{2}", "month"),
    "b": (r"[A-Za-z]{3}", "month"),
    "B": (r"[A-Za-z]+", "month"),
    "d": (r"\d{2}", "day"),
    "j": (r"\d{3}", "month day"),
    "H": (r"\d{2}", "hour"),
    "M": (r"\d{2}", "minute"),
    "S": (r"\d{2}", "second"),
}
_NEVER: Time = np.datetime64(0, "s")  # stands where there is no date
_SPAN = re.compile(r"\{time:[^{}]*\}")
_PIECES = re.compile(r"(\{time:[^{}]*\}|\*|\?)")


@dataclass(frozen=True, slots=True)
class SourceVariable:
    """One variable of an archive, and how its files are to be read."""

    name: str
    files: str
    units: str = "1"
    long_name: str = ""
    standard_name: str | None = None
    is_classes: bool = False
    resampling: str = "auto"
    band: int = 1
    nodata: float | None = None
    """A marker of missing pixels beside the one that the file declares."""
    valid_range: tuple[float, float] | None = None
    """Values outside are counted and become invalid [units]."""
    share_of: tuple[int, ...] = ()
    """Class codes that count as 1, all others as 0; without them values are as they stand."""
    cell_methods: str = ""
    """What a value is of its cell, as CF writes it."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that a pattern names, by its path below the archive's root."""

    name: str
    time: Time | None = None
    """Date in the name, floored to the cadence [s]; None for static files."""
    error: str | None = None
    """Why the date in the name is none."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path below the root in which ``{time:...}``, ``*`` and ``?`` stand for something.

    Everything else is literal. A date may be spread over several ``{time:...}``, and what
    stands twice (a folder per year, and the year in the file's name) has to agree.
    """

    text: str

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.text).parts
        if not parts or self.text.startswith(("/", "~")) or ".." in parts or "\\" in self.text:
            raise ArchiveError(
                f"files={self.text!r} leads out of the archive, so it is refused; "
                "write a path below archive.root with '/' and without '..'"
            )
        for code in self.date_codes:
            if code not in _CODES:
                raise ArchiveError(
                    f"files={self.text!r} dates files by %{code}, which is not understood; "
                    f"use {', '.join('%' + known for known in _CODES)}"
                )
        finest, missing = self._finest_unit
        if missing:
            raise ArchiveError(
                f"files={self.text!r} dates files by {finest} but not by {missing[0]}, so "
                f"their dates are unknown; write the {missing[0]} where it stands in the name"
            )

    @property
    def date_codes(self) -> list[str]:
        """List the date codes in order, such as Y and m."""
        spans = _SPAN.findall(self.text)
        return [code for span in spans for code in re.findall(r"%(.?)", span)]

    @property
    def has_date(self) -> bool:
        """Return whether there is a file per date."""
        return bool(self.date_codes)

    @property
    def _finest_unit(self) -> tuple[str, list[str]]:
        """Return the finest unit that dates hold, and the coarser ones that they lack."""
        units = {unit for code in self.date_codes for unit in _CODES[code][1].split()}
        finest = max(map(_UNITS.index, units), default=0)
        return _UNITS[finest], [unit for unit in _UNITS[:finest] if unit not in units]

    def cadence(self, step: Step) -> Cadence:
        """Return how often a file is due in a series of ``step``.

        Raises:
            ArchiveError: the dates are coarser than the step, and not years.
        """
        if not self.has_date:
            return "static"
        finest, _ = self._finest_unit
        if _UNITS.index(finest) >= _UNITS.index(step.unit):
            return "step"
        if finest == "year":
            return "annual"
        raise ArchiveError(
            f"files={self.text!r} dates files more coarsely than a {step.unit}, so frames "
            f"of step {step} cannot be told apart; date them more finely, or by year"
        )

    def parse_date(self, name: str) -> tuple[Time | None, str | None]:
        """Read the date [s] of a path below the root, or else why it has none."""
        match = re.fullmatch(_regex(self.text), name)
        if match is None:
            return None, f"{name} does not fit {self.text!r}"
        return _parse_date_groups(match.groupdict())

    def glob(self, root: Path) -> Iterator[tuple[str, Time | None, str | None]]:
        """List path below ``root``, date [s] and error of every file that fits, by path."""
        text = _SPAN.sub(lambda span: span[0].replace("/", "}/{time:"), self.text)
        regex = re.compile(_regex(text))
        parts = [re.compile(_regex(part)) for part in PurePosixPath(text).parts]
        for name in sorted(_walk(root, "", parts)):
            match = regex.fullmatch(name)
            if match is None:
                continue
            if not (root / name).is_file():
                yield name, None, f"{name} is a folder, a pipe or a link to nothing"
            else:
                yield name, *_parse_date_groups(match.groupdict())


def find_files(root: Path, variable: SourceVariable, step: Step) -> list[FoundFile]:
    """List the files of a variable, by date and path; dates are floored to its cadence."""
    pattern = Pattern(variable.files)
    floor = Step(1, "year") if pattern.cadence(step) == "annual" else step
    found = [
        FoundFile(name, None if time is None else floor.floor(time), error)
        for name, time, error in pattern.glob(root)
    ]
    return sorted(found, key=_sort_key)


def _sort_key(file: FoundFile) -> tuple[bool, Time, str]:
    """Sort by date and path, behind files without a date; 1970 begins at 0, which is false."""
    return file.time is not None, _NEVER if file.time is None else file.time, file.name


def _regex(text: str) -> str:
    """Turn a pattern into a regular expression with a group per date code."""
    seen: set[str] = set()
    return "".join(_piece(piece, seen) for piece in _PIECES.split(text))


def _piece(piece: str, seen: set[str]) -> str:
    if piece == "*":
        return "[^/]*"
    if piece == "?":
        return "[^/]"
    if not piece.startswith("{time:"):
        return re.escape(piece)
    tokens = re.split(r"(%.)", piece[len("{time:") : -1])
    return "".join(
        _group(token[1], seen) if token.startswith("%") else re.escape(token)
        for token in tokens
    )


def _group(code: str, seen: set[str]) -> str:
    if code in seen:
        return f"(?P={code})"
    seen.add(code)
    return f"(?P<{code}>{_CODES[code][0]})"


def _parse_date_groups(groups: dict[str, str]) -> tuple[Time | None, str | None]:
    if not groups:
        return None, None
    text = " ".join(groups.values())
    try:
        date = datetime.strptime(text, " ".join(f"%{code}" for code in groups))
    except ValueError:
        return None, f"{text!r} (%{' %'.join(groups)}) is no date"
    time = np.datetime64(date, "s")
    if not is_held(time):
        return None, (
            f"{text!r} does not lie in {HELD}, beyond which pandas and others that count "
            "nanoseconds hold no date"
        )
    return time, None


def _walk(root: Path, folder: str, parts: list[re.Pattern[str]]) -> Iterator[str]:
    """List what lies below ``root`` and fits part by part; hidden names need a dot."""
    head, *rest = parts
    try:
        entries = list((root / folder).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        hidden = entry.name.startswith(".") and not head.pattern.startswith(r"\.")
        if hidden or head.fullmatch(entry.name) is None:
            continue
        name = f"{folder}/{entry.name}" if folder else entry.name
        if rest:
            yield from _walk(root, name, rest)
        else:
            yield name
