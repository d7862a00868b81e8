"""How many, and which: as a person says and reads it."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_MAX_LISTED = 12  # what a person reads; the rest is counted


def pluralize(n: int, noun: str) -> str:
    """Write how many there are: '1 tile', '12 tiles', '2 patches'."""
    ending = "es" if noun.endswith(("tch", "s")) else "s"
    return f"{n} {noun}" if n == 1 else f"{n} {noun}{ending}"


def abbreviate(labels: Sequence[str]) -> str:
    """Write a list of dates or names as far as one reads, and count the rest."""
    rest = len(labels) - _MAX_LISTED
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(labels[:_MAX_LISTED]) + more


def format_bytes(n_bytes: float) -> str:
    """Write a size in three digits, in its unit: '512 B', '62.4 MB', '1.20 GB'."""
    if n_bytes < 1000:
        return f"{n_bytes:.0f} B"
    digits, _, power = f"{n_bytes:.2e}".partition("e")  # rounded first: 999.9 MB are 1.00 GB
    unit = min(int(power) // 3, len(_UNITS) - 1)
    tens = int(power) - 3 * unit
    return f"{float(digits) * 10**tens:.{max(0, 2 - tens)}f} {_UNITS[unit]}"
