"""Removing a folder so that nobody ever meets half of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from stores.crash import crash_point

_REMOVED_SUFFIX = ".gone"


def remove_tree(folder: Path) -> None:
    """Remove a folder: out of sight in one rename, then file by file.

    A crash in between leaves a hidden folder, which ``find_partial_removals`` finds.
    """
    gone = folder.with_name(f".{folder.name}{_REMOVED_SUFFIX}")
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        folder.rename(gone)
        crash_point("discard.rename")
        shutil.rmtree(gone, ignore_errors=True)


def find_partial_removals(parent: Path) -> list[Path]:
    """List folders whose removal was cut short."""
    return sorted(parent.glob(f".*{_REMOVED_SUFFIX}/"))
