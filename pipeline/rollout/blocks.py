"""The exact rollout: tile by tile, block of leads by block of leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.rollout.forecaster import Forecaster, TileBatch, TileForecast, forecaster_of
from pipeline.rollout.passes import RolloutPass, TileGroup, ledger_key
from pipeline.rollout.pipelining import pipelined
from pipeline.rollout.products import feedback
from pipeline.rollout.publishing import ledger_of, write_products
from pipeline.rollout.request import ForecastRequest
from pipeline.rollout.rollout_plan import LeadBlock, RolloutPlan
from pipeline.tiling.tiles import Tile
from stores.array_types import Float32Array
from stores.cube import Cube
from stores.scratch import (
    ScratchSpec,
    create_scratch,
    read_scratch,
    read_state,
    write_scratch,
    write_state,
)
from stores.windows import Window


@dataclass(frozen=True, slots=True)
class ScratchBlocks:
    """What earlier blocks left in the scratch store of a stage."""

    stage: Path
    block_index: int
    """Which block reads, from 0."""

    def frames(self, window: Window, first: int, stop: int) -> Float32Array:
        """Read normalized leads, from 0 (member, leads, y, x)."""
        return read_scratch(self.stage, window, first, stop)

    def memory(self, window: Window) -> Float32Array:
        """Read what networks remembered after the block before (member, channel, y, x)."""
        return read_state(self.stage, window, block=self.block_index - 1)


@dataclass(frozen=True, slots=True)
class BlockPass:
    """Roll the tiles of one block; the pass before has written what they read."""

    request: ForecastRequest
    stage: Path
    block: LeadBlock
    block_index: int
    """Which block it is, from 0."""
    is_last: bool
    """Whether no later block reads what this one computes."""

    @property
    def label(self) -> str:
        """Name of the pass in the ledger."""
        return str(self.block)

    def __call__(self, groups: Sequence[TileGroup]) -> int:
        """Roll the groups of one task; return the pixels written."""
        forecaster = forecaster_of(self.request)
        receipts = pipelined(
            groups,
            read=partial(self._read, forecaster),
            compute=partial(self._roll, forecaster),
            write=partial(self._write, forecaster),
        )
        return sum(receipts)

    def _read(self, forecaster: Forecaster, group: TileGroup) -> TileBatch:
        earlier = ScratchBlocks(self.stage, self.block_index)
        inputs = [forecaster.read(tile, self.request, self.block, earlier) for tile in group]
        return forecaster.collate(inputs)

    def _roll(self, forecaster: Forecaster, group: TileGroup, batch: TileBatch) -> TileForecast:
        return forecaster.rollout(group, batch, self.request, self.block)

    def _write(self, forecaster: Forecaster, group: TileGroup, forecast: TileForecast) -> int:
        """Write what the tiles of a group own, mark them done, and return the pixels."""
        pixels = 0
        for index, tile in enumerate(group):
            owned = forecast.frames[index][..., *tile.crop.slices]
            if not self.is_last:
                fed_back = feedback(owned, self.request)
                write_scratch(self.stage, tile.owns, fed_back, first=self.block.first)
                self._write_memory(tile, forecast.memory, index)
            write_products(forecaster, self.request, self.stage, tile, self.block, owned)
            ledger_of(self.stage).mark(ledger_key(self, tile), {})
            pixels += owned[0].size
        return pixels

    def _write_memory(self, tile: Tile, memory: Float32Array | None, index: int) -> None:
        if memory is not None:
            owned = memory[index][..., *tile.crop.slices]
            write_state(self.stage, tile.owns, owned, block=self.block_index)


def plan_blocks(request: ForecastRequest, plan: RolloutPlan, stage: Path) -> list[RolloutPass]:
    """List the blocks as passes, and create the scratch store for what they hand over."""
    if len(plan.blocks) > 1:
        channels = forecaster_of(request).memory_channels
        scratch_spec = ScratchSpec(plan.layout, request.members.n, plan.leads, channels)
        create_scratch(stage, Cube.open(request.cube).grid, scratch_spec)
    last = len(plan.blocks) - 1
    return [
        BlockPass(request, stage, block, number, number == last)
        for number, block in enumerate(plan.blocks)
    ]
