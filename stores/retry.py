"""Reading at rest: what fails for a moment is tried again, and told apart from damage.

A network file system answers with an error now and then, and a reader may meet a file that is
being replaced. Neither says anything about the bytes, so both are tried again first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from stores.errors import CorruptError, StoreError

Result = TypeVar("Result")

RETRY_DELAYS_S = (0.1, 0.5, 2.0)
"""How long to wait before each further try of what the system could not read [s]."""

_DECODING = (ValueError, RuntimeError)  # checksums and codecs
_NOT_RETRIED = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

log = logging.getLogger(__name__)


def read_with_retry(read: Callable[[], Result], *, what: str, hint: str) -> Result:
    """Read, and try again what may go well: errors of the system thrice, of decoding once.

    Args:
        read: does it; may be called several times.
        what: is read, for messages.
        hint: what to do about altered bytes.

    Raises:
        OSError: the system cannot read it; names its error and file.
        CorruptError: it can be read twice and not decoded: bytes were altered.
    """
    delays = list(RETRY_DELAYS_S)
    decode_failed = False
    while True:
        try:
            return read()
        except CorruptError:  # a file is missing; it was looked for
            raise
        except OSError as error:
            if not delays or isinstance(error, _NOT_RETRIED):
                raise _unreadable(error, what) from error
            _wait(delays.pop(0), what, error)
        except _DECODING as error:
            if decode_failed:
                raise CorruptError(
                    f"{what} cannot be read ({error}), so its bytes were altered; {hint}"
                ) from error
            decode_failed = True
            _wait(RETRY_DELAYS_S[0], what, error)


@contextmanager
def reraise_as_corrupt(path: Path, hint: str) -> Iterator[None]:
    """Reraise what cannot be understood as altered bytes, in a sentence.

    Raises:
        CorruptError: what stands there is not what any of us writes.
    """
    try:
        yield
    except (StoreError, OSError):
        raise
    except (
        ValueError,
        RuntimeError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
    ) as error:
        raise CorruptError(
            f"{path} does not say what it should ({error!r:.300}), so its numbers would be "
            f"misread; {hint}"
        ) from error


def _wait(delay_s: float, what: str, error: Exception) -> None:
    log.warning("%s could not be read (%s); trying again in %.1f s", what, error, delay_s)
    time.sleep(delay_s)


def _unreadable(error: OSError, what: str) -> OSError:
    """Build the error with the system's own message; its type stays, for callers."""
    text = (
        f"{what} cannot be read: {error.strerror or error}; its bytes may be sound, so look at "
        "the disk, the mount or the limits of this process and run again"
    )
    return OSError(error.errno, text, error.filename)


def file_exists(path: Path) -> bool:
    """Return whether a file is there; an error of the system is none of its absence.

    Raises:
        OSError: it cannot be told.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
