"""Words that stand in recipes and bundles: what is not known is refused, never guessed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TypeVar

ValueT = TypeVar("ValueT")

# Of what is said otherwise than here: a key too many is a TypeError, one too few a KeyError.
_UNREADABLE = (
    *(ValueError, TypeError, LookupError),
    *(AttributeError, ArithmeticError, RuntimeError),
)


class UnknownOptionError(ValueError):
    """A word has no meaning here: another version wrote it."""


def look_up(table: Mapping[str, ValueT], name: str, what: str) -> ValueT:
    """Give what a word means.

    Args:
        meanings: all words that are known.
        word: as it was written.
        what: what the word chooses, for the message.

    Raises:
        UnknownOptionError: the word is none of them.
    """
    check_option(table, name, what)
    return table[name]


def check_option(known: Collection[str], word: str, what: str) -> None:
    """Refuse a word that is none of the known ones.

    Raises:
        UnknownOptionError: names the word and all that are known.
    """
    if word not in known:
        raise UnknownOptionError(
            f"{what} {word!r} is unknown here, so nothing can follow from it; known are "
            f"{', '.join(known)}"
        )


@contextmanager
def explaining_version(name: str, writer: str) -> Iterator[None]:
    """Say of what cannot be read which version of cubecast wrote it, and which one reads.

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
