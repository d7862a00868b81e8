"""The exact rollout: tile by tile, block of leads by block of leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.rollout.forecaster import Forecaster, Loaded, Rolled, forecaster_of
from pipeline.rollout.overlap import overlapped
from pipeline.rollout.passes import Group, Pass, entry_of
from pipeline.rollout.plan import Block, RolloutPlan
from pipeline.rollout.products import fed_back
from pipeline.rollout.publishing import ledger_of, write_owned
from pipeline.rollout.request import Request
from pipeline.streams.transforms import Values
from pipeline.tiling.plan import Tile
from stores.cube import Cube
from stores.scratch import (
    Room,
    create_scratch,
    read_memory,
    read_scratch,
    write_memory,
    write_scratch,
)
from stores.windows import Window


@dataclass(frozen=True, slots=True)
class Handed:
    """What earlier blocks left in the scratch store of a stage."""

    stage: Path
    number: int
    """Which block reads, from 0."""

    def frames(self, window: Window, first: int, stop: int) -> Values:
        """Read normalized leads, from 0 (member, leads, y, x)."""
        return read_scratch(self.stage, window, first, stop)

    def memory(self, window: Window) -> Values:
        """Read what networks remembered after the block before (member, channel, y, x)."""
        return read_memory(self.stage, window, block=self.number - 1)


@dataclass(frozen=True, slots=True)
class RollBlock:
    """Roll the tiles of one block; the pass before has written what they read."""

    request: Request
    stage: Path
    block: Block
    number: int
    """Which block it is, from 0."""
    is_last: bool
    """Whether no later block reads what this one computes."""

    @property
    def label(self) -> str:
        """Name the pass in the ledger."""
        return str(self.block)

    def __call__(self, groups: Sequence[Group]) -> int:
        """Roll the groups of one task; return the pixels written."""
        forecaster = forecaster_of(self.request)
        receipts = overlapped(
            groups,
            read=partial(self._read, forecaster),
            compute=partial(self._roll, forecaster),
            write=partial(self._write, forecaster),
        )
        return sum(receipts)

    def _read(self, forecaster: Forecaster, group: Group) -> Loaded:
        earlier = Handed(self.stage, self.number)
        parts = [forecaster.read(tile, self.request, self.block, earlier) for tile in group]
        return forecaster.load(parts)

    def _roll(self, forecaster: Forecaster, group: Group, loaded: Loaded) -> Rolled:
        return forecaster.roll(group, loaded, self.request, self.block)

    def _write(self, forecaster: Forecaster, group: Group, rolled: Rolled) -> int:
        """Write what the tiles of a group own, then mark them done."""
        pixels = 0
        for index, tile in enumerate(group):
            owned = rolled.frames[index][..., *tile.kept.slices]
            if not self.is_last:
                fed = fed_back(owned, self.request)
                write_scratch(self.stage, tile.owns, fed, first=self.block.first)
                self._remember(tile, rolled.memory, index)
            write_owned(forecaster, self.request, self.stage, tile, self.block, owned)
            ledger_of(self.stage).mark(entry_of(self, tile), {})
            pixels += owned[0].size
        return pixels

    def _remember(self, tile: Tile, memory: Values | None, index: int) -> None:
        if memory is not None:
            kept = memory[index][..., *tile.kept.slices]
            write_memory(self.stage, tile.owns, kept, block=self.number)


def plan_blocks(request: Request, plan: RolloutPlan, stage: Path) -> list[Pass]:
    """List the blocks as passes, with room for what they hand over."""
    if len(plan.blocks) > 1:
        channels = forecaster_of(request).memory_channels
        room = Room(plan.layout, request.members.n, plan.leads, channels)
        create_scratch(stage, Cube.open(request.cube).grid, room)
    last = len(plan.blocks) - 1
    return [
        RollBlock(request, stage, block, number, number == last)
        for number, block in enumerate(plan.blocks)
    ]
