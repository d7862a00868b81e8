"""How thoroughly a scrub reads, how far it is, and what it found."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from stores.progress import ProgressCallback, no_progress

Thing = Literal["cube", "issue", "bundle", "record"]
"""A record is what says where things are: a name, a catalog, the register, what is current."""


def check_share(share: float) -> None:
    """Refuse a share of which nothing could be read.

    Raises:
        ValueError: it is none.
    """
    if not 0 < share <= 1:
        raise ValueError(
            f"sample={share:g} is no share of the files, so nothing would be proven; "
            "give more than 0 and at most 1"
        )


@dataclass(slots=True)
class Scrub:
    """Files that are checked, of which a random fraction is read.

    Every run reads others, so that a tenth a night reads most of a store within a month.
    """

    sample: float = 1.0
    on_progress: ProgressCallback = no_progress
    total: int = 0
    """Files in all."""
    _done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_share(self.sample)

    @property
    def is_full(self) -> bool:
        """Return whether every byte is read."""
        return self.sample == 1

    def sample_files(self, names: Iterable[str]) -> set[str]:
        """Choose the files that are read: one at least, where there is any."""
        known = sorted(names)
        n = min(len(known), max(1, round(self.sample * len(known))))
        return set(known) if self.is_full else set(random.sample(known, n))

    def advance(self) -> None:
        """Count one more file that was checked."""
        self._done += 1
        self.on_progress(self._done, max(self.total, self._done))


@dataclass(frozen=True, slots=True)
class Part:
    """What is wrong with one thing of a store: what helps depends on what it is."""

    thing: Thing
    findings: list[str]

    def of(self, name: str) -> Part:
        """Prefix every finding with where it is."""
        return Part(self.thing, [f"{name}: {finding}" for finding in self.findings])
