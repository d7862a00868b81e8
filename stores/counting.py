"""How many, and which: as a person says and reads it."""

from __future__ import annotations

from collections.abc import Sequence

_LISTED = 12  # what a person reads; the rest is counted


def count(n: int, noun: str) -> str:
    """Say how many there are: '1 tile', '12 tiles', '2 patches'."""
    ending = "es" if noun.endswith(("ch", "s")) else "s"
    return f"{n} {noun}" if n == 1 else f"{n} {noun}{ending}"


def listed(labels: Sequence[str]) -> str:
    """Write a list of dates or names as far as one reads, and count the rest."""
    rest = len(labels) - _LISTED
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(labels[:_LISTED]) + more
