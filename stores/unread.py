"""Files that no pattern of a recipe reads, although they are named like files that one does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stores.archive import Pattern, SourceVariable
from stores.counting import count, listed
from stores.errors import ArchiveError
from stores.survey import FoundSeries, survey


@dataclass(frozen=True, slots=True)
class Unread:
    """What a pattern leaves out of a series."""

    variable: str
    files: str
    """The pattern of the recipe."""
    n_read: int
    names: tuple[str, ...]
    """Files that differ from those that are read by their dates alone."""
    nearest: str
    """The pattern that reads all of them."""

    def __str__(self) -> str:
        total = self.n_read + len(self.names)
        return (
            f"{self.variable}: {self.files!r} reads {self.n_read} of {count(total, 'file')} "
            f"that differ by their dates alone; not read are {listed(self.names)}; "
            f"{self.nearest!r} would read all"
        )

    def check(self) -> None:
        """Refuse a pattern that reads a single date of a series: nothing follows from one.

        Raises:
            ArchiveError: names the pattern that reads all.
        """
        if self.n_read == 1:
            raise ArchiveError(f"{self}; correct 'files'")


def list_unread(root: Path, variables: Iterable[SourceVariable]) -> list[Unread]:
    """List what the patterns of dated variables leave out of a series; no file is opened."""
    read = {v: {name for name, *_ in Pattern(v.files).find(root)} for v in variables}
    known = set().union(*read.values())
    dated = [v for v in read if read[v] and Pattern(v.files).has_time]
    if not dated:
        return []
    found = survey(root)
    compared = (_compare(v, read[v], series, known) for v in dated for series in found)
    return [unread for unread in compared if unread is not None]


def _compare(
    variable: SourceVariable, names: set[str], series: FoundSeries, known: set[str]
) -> Unread | None:
    """Compare what a variable reads with one series of the archive."""
    n_read = sum(name in names for name in series.names)
    left = tuple(name for name in series.names if name not in known)
    if not n_read or not left:
        return None
    return Unread(variable.name, variable.files, n_read, left, series.files)
