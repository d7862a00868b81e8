"""Space on a disk: checked before the work, and named where it has run out."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stores.errors import DiskFullError
from stores.formatting import format_bytes

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_MESSAGES = tuple(map(os.strerror, _FULL))  # of libraries that keep no number
_FULL_BELOW_BYTES = 1 << 20
"""With less left, whatever failed to write failed of it: some libraries do not say why."""
_MAX_CAUSES = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system on which a path lies, or will."""

    mount: Path
    free_bytes: int
    total_bytes: int

    @classmethod
    def of(cls, path: Path) -> Disk:
        """Find the disk of a path that need not be there yet."""
        existing = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
        folder = existing.resolve()
        device = folder.stat().st_dev
        on_disk = [p for p in (folder, *folder.parents) if p.stat().st_dev == device]
        usage = shutil.disk_usage(folder)
        return cls(on_disk[-1], usage.free, usage.total)

    def __str__(self) -> str:
        free = format_bytes(self.free_bytes)
        total = format_bytes(self.total_bytes)
        return f"the disk at {self.mount} has {free} left of {total}"


@dataclass(frozen=True, slots=True)
class SpaceRequirement:
    """Space that work needs where its result goes; checked before anything is written."""

    what: str
    """Is written, for messages."""
    folder: Path
    """It need not be there yet."""
    max_bytes: int
    """What the result takes at most, before compression."""
    estimate: Callable[[], int]
    """Returns what it takes at least; called only where the maximum would not fit."""

    def __str__(self) -> str:
        return f"at most {format_bytes(max(0, self.max_bytes))}; {Disk.of(self.folder)}"

    def check(self) -> None:
        """Refuse work whose result does not fit; warn where it may not.

        Raises:
            DiskFullError: not even the minimum fits.
        """
        disk = Disk.of(self.folder)
        if self.max_bytes <= disk.free_bytes:
            return
        min_bytes = self.estimate()
        largest = format_bytes(self.max_bytes)
        least = format_bytes(min_bytes)
        if min_bytes > disk.free_bytes:
            raise DiskFullError(
                f"{self.what} takes {least} or more in {self.folder}, but {disk}, so it would "
                "end half way and nothing was begun; free disk space, or choose a root on "
                "another disk with --root"
            )
        log.warning(
            "%s takes %s to %s in %s, and %s, so it may end half way; free disk space before",
            *(self.what, least, largest, self.folder, disk),
        )


@contextmanager
def reraise_disk_full(path: Path) -> Iterator[None]:
    """Reraise what fails because a disk is full, with its file and disk.

    Raises:
        DiskFullError: instead of whatever the body raised of it.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if not _is_disk_full(error, path):
            raise
        raise DiskFullError(
            f"{_file_of(error) or path} could not be written, because {Disk.of(path)} "
            f"({_first_line(error)}), so the work has stopped; what is published and what was "
            "finished stays. Free disk space, or choose a root on another disk with --root, "
            "and run the same command again"
        ) from error


def _is_disk_full(error: BaseException, path: Path) -> bool:
    for cause in _list_causes(error):
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        if any(message in str(cause) for message in _FULL_MESSAGES):
            return True
    is_refusal = isinstance(error, ValueError | LookupError | TypeError)
    return not is_refusal and Disk.of(path).free_bytes < _FULL_BELOW_BYTES


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """List an error and those of which it came."""
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _file_of(error: BaseException) -> str | None:
    names = (e.filename for e in _list_causes(error) if isinstance(e, OSError))
    return next((str(name) for name in names if name), None)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]
