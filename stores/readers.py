"""Which reader opens a file of an archive: one row per suffix."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from stores import geotiff
from stores.archive import SourceVariable
from stores.array_types import Float32Array
from stores.errors import ArchiveError
from stores.geotiff import FileScan, Header
from stores.windows import Window


class OpenBand(Protocol):
    """One variable of an open file, read by windows."""

    @property
    def header(self) -> Header:
        """What the file declares."""

    def read(self, window: Window) -> Float32Array:
        """Read a window (y, x), NaN where invalid."""


class Reader(Protocol):
    """What a format has to offer; ``stores.geotiff`` is one. All raise ArchiveError."""

    def read_header(self, path: Path, variable: SourceVariable) -> Header:
        """Read what the variable declares; proves nothing about its values."""

    def scan(self, path: Path, variable: SourceVariable) -> FileScan:
        """Read every value once and count the pixels."""

    def open_band(
        self, path: Path, variable: SourceVariable
    ) -> AbstractContextManager[OpenBand]:
        """Open the variable for one thread."""

    def digest_raster(self, path: Path) -> str:
        """Digest whatever the values are read from."""


READERS: dict[str, Reader] = dict.fromkeys(geotiff.SUFFIXES, geotiff)
"""The reader of every format, by the suffix of its files."""


def is_readable(name: str) -> bool:
    """Whether there is a reader for a file, by its suffix."""
    return name.lower().endswith(tuple(READERS))


def pick_reader(path: Path) -> Reader:
    """Return the reader of a file, by its suffix.

    Raises:
        ArchiveError: there is none.
    """
    for suffix, reader in READERS.items():
        if path.name.lower().endswith(suffix):
            return reader
    raise ArchiveError(
        f"{path.name} has a suffix that no reader knows, so it cannot be read; name files that "
        f"end in {', '.join(READERS)}"
    )
