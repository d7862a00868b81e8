"""How thoroughly a scrub reads, and how far it is."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

Tell = Callable[[int, int], None]


def tell_nobody(_done: int, _total: int) -> None:
    """Say nothing."""


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
    """Files that are looked at, of which a random share is read.

    Every run reads others, so that a tenth a night reads most of a store within a month.
    """

    share: float = 1.0
    tell: Tell = tell_nobody
    total: int = 0
    """Files in all."""
    _done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_share(self.share)

    @property
    def is_whole(self) -> bool:
        """Tell whether every byte is read."""
        return self.share == 1

    def pick(self, names: Iterable[str]) -> set[str]:
        """Choose the files that are read: one at least, where there is any."""
        known = sorted(names)
        n = min(len(known), max(1, round(self.share * len(known))))
        return set(known) if self.is_whole else set(random.sample(known, n))

    def count(self) -> None:
        """Say that one more file was looked at."""
        self._done += 1
        self.tell(self._done, max(self.total, self._done))
