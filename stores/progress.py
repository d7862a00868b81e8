"""How far work is: what long work calls, whoever shows it."""

from __future__ import annotations

from typing import Protocol


class ProgressCallback(Protocol):
    """Called with the units that are done, those in all, and what is being done."""

    def __call__(self, done: float, total: float, note: str = "") -> None:
        """Show it."""


def no_progress(done: float, total: float, note: str = "") -> None:
    """Show nothing."""
