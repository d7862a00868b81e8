"""A rollout as passes over the same tiles: each begins when the one before is complete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.tiling.plan import Tile

Group = tuple[Tile, ...]
"""Tiles that are computed together."""


class Pass(Protocol):
    """One pass: what is done to every tile. Small and picklable."""

    @property
    def label(self) -> str:
        """Name the pass in the ledger."""

    def __call__(self, groups: Sequence[Group]) -> int:
        """Do the groups of one task and mark their tiles; return the pixels written."""


def entry_of(one: Pass, tile: Tile) -> str:
    """Name a tile of a pass in the ledger."""
    return f"{one.label} {tile.owns}"
