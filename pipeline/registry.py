"""Options that recipes and bundles name: an unknown name is refused, never guessed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TypeVar

ValueT = TypeVar("ValueT")

# Of what another version wrote: a key too many is a TypeError, one too few a KeyError.
_UNREADABLE = (
    *(ValueError, TypeError, LookupError),
    *(AttributeError, ArithmeticError, RuntimeError),
)


class UnknownOptionError(ValueError):
    """An option is not in its table: another version wrote it."""


def look_up(table: Mapping[str, ValueT], name: str, what: str) -> ValueT:
    """Return the entry of a table.

    Args:
        table: entries by name.
        name: as a recipe or bundle says it.
        what: what the name chooses, for the message.

    Raises:
        UnknownOptionError: the table has no such name.
    """
    check_option(table, name, what)
    return table[name]


def check_option(known: Collection[str], name: str, what: str) -> None:
    """Refuse a name that is none of the known ones.

    Raises:
        UnknownOptionError: shows the name and all that are known.
    """
    if name not in known:
        raise UnknownOptionError(
            f"{what} {name!r} is unknown here, so nothing can follow from it; known are "
            f"{', '.join(known)}"
        )


@contextmanager
def explaining_version(name: str, writer: str) -> Iterator[None]:
    """Add to errors of the body which version of cubecast wrote what is read, and which reads.

    Args:
        name: what is read.
        writer: version of cubecast that wrote it.

    Raises:
        UnknownOptionError: something in it is unknown here.
    """
    try:
        yield
    except _UNREADABLE as error:
        raise UnknownOptionError(
            f"{name} was written by cubecast {writer} and says what this cubecast "
            f"{version('cubecast')} does not know ({error}), so it would be used wrongly; "
            f"install cubecast {writer}, or train again"
        ) from error
