"""A rollout as passes over the same tiles: each begins when the one before is complete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.tiling.tiles import Tile

TileGroup = tuple[Tile, ...]
"""Tiles that are computed together."""


class RolloutPass(Protocol):
    """One pass: what is done to every tile. Small and picklable."""

    @property
    def label(self) -> str:
        """Name of the pass in the ledger."""

    def __call__(self, groups: Sequence[TileGroup]) -> int:
        """Do the groups of one task and mark their tiles; return the pixels written."""


def ledger_key(rollout_pass: RolloutPass, tile: Tile) -> str:
    """Return the key of a tile of a pass in the ledger."""
    return f"{rollout_pass.label} {tile.owns}"
