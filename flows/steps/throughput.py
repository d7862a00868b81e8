"""How fast a rollout goes."""

from __future__ import annotations

import time

from pipeline.rollout.engine import RolloutProgress


class Throughput:
    """Tiles and pixels per second since the first word of a rollout."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._before: int | None = None
        self.tiles = 0
        """Tiles done in this run; those of an earlier run do not count."""
        self.pixels = 0
        """Pixels of all leads."""

    def update(self, progress: RolloutProgress) -> None:
        """Count what was just done."""
        if self._before is None:
            self._before = progress.done
        self.tiles = progress.done - self._before
        self.pixels += progress.pixels

    @property
    def seconds(self) -> float:
        """Time since the start [s]."""
        return time.monotonic() - self._start

    def __str__(self) -> str:
        seconds = max(self.seconds, 1e-9)
        return f"{self.tiles / seconds:.2g} tiles/s, {self.pixels / seconds / 1e6:.2g} Mpx/s"
