"""Removing a folder so that nobody ever meets half of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from stores.crash import crash_point

_GONE = ".gone"


def discard(folder: Path) -> None:
    """Remove a folder: out of sight in one rename, then file by file.

    A crash in between leaves a hidden folder, which ``find_discarded`` finds.
    """
    gone = folder.with_name(f".{folder.name}{_GONE}")
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        folder.rename(gone)
        crash_point("discard.rename")
        shutil.rmtree(gone, ignore_errors=True)


def find_discarded(parent: Path) -> list[Path]:
    """List folders whose removal was cut short."""
    return sorted(parent.glob(f".*{_GONE}/"))
