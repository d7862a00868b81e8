"""Files that no pattern of a recipe reads, although they are named like files that one does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stores.archive import Pattern, SourceVariable
from stores.errors import ArchiveError
from stores.file_patterns import FilePatternGroup, group_files
from stores.formatting import abbreviate, pluralize


@dataclass(frozen=True, slots=True)
class UnmatchedFiles:
    """What a pattern leaves out of a series."""

    variable: str
    files: str
    """The pattern of the recipe."""
    n_read: int
    names: tuple[str, ...]
    """Files that differ from those that are read by their dates alone."""
    suggested_pattern: str
    """The pattern that reads all of them."""

    def __str__(self) -> str:
        total = self.n_read + len(self.names)
        return (
            f"{self.variable}: {self.files!r} reads {self.n_read} of "
            f"{pluralize(total, 'file')} that differ by their dates alone; "
            f"not read are {abbreviate(self.names)}; {self.suggested_pattern!r} would read all"
        )

    def check(self) -> None:
        """Refuse a pattern that reads a single date of a series: nothing follows from one.

        Raises:
            ArchiveError: names the pattern that reads all.
        """
        if self.n_read == 1:
            raise ArchiveError(f"{self}; correct 'files'")


def list_unmatched(root: Path, variables: Iterable[SourceVariable]) -> list[UnmatchedFiles]:
    """List what the patterns of dated variables leave out of a series; no file is opened."""
    read = {v: {name for name, *_ in Pattern(v.files).glob(root)} for v in variables}
    known = set().union(*read.values())
    dated = [v for v in read if read[v] and Pattern(v.files).has_date]
    if not dated:
        return []
    found = group_files(root)
    compared = (_compare(v, read[v], series, known) for v in dated for series in found)
    return [unmatched for unmatched in compared if unmatched is not None]


def _compare(
    variable: SourceVariable, names: set[str], series: FilePatternGroup, known: set[str]
) -> UnmatchedFiles | None:
    """Compare what a variable reads with one series of the archive."""
    n_read = sum(name in names for name in series.names)
    unread = tuple(name for name in series.names if name not in known)
    if not n_read or not unread:
        return None
    return UnmatchedFiles(variable.name, variable.files, n_read, unread, series.files)
