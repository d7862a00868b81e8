"""Plan a rollout: tiles, blocks of leads, bytes and tasks, before anything is read.

A rollout of H leads runs in blocks of B leads. Within a block a tile rolls on its own, from a
window that reaches halo(B) farther than it owns; the next block reads its halo from the leads
written before. Large B reads little and computes its halo again and again; B = 1 computes
least and reads most. Every choice gives the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from pipeline.memory import MemoryPlan, WorkerPool
from pipeline.models import ConvLSTMSpec, Reach
from pipeline.rollout.cost import (
    cached_fields_bytes,
    read_bytes_per_px,
    rollout_bytes,
    rollout_flops_per_px,
    score_bytes,
)
from pipeline.tiling.tiles import Tile, count_tiles, plan_tiles, tile_read_shape
from stores.formatting import format_bytes, pluralize
from stores.layout import Layout

_SIDES = (32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048)
_BLOCKS = (1, 2, 3, 4, 6, 8, 12, 24)
_CHUNK_PX = 512
_HALO = {"exact": "exact", "blend": "blended: approximate"}

# What one worker does in a second, roughly. The rates rank plans and give a first estimate of
# their time; what a machine really does stands in benchmarks/RESULTS.md.
_FLOPS_PER_S = 15e9
_READ_BYTES_PER_S = 150e6
_TASK_S = 0.05


@dataclass(frozen=True, slots=True, order=True)
class LeadBlock:
    """Consecutive leads that are rolled out together, counted from 0."""

    first: int
    leads: int

    def __str__(self) -> str:
        return f"leads {self.first + 1}-{self.first + self.leads}"


@dataclass(frozen=True)
class RolloutPlan:
    """Which tiles are computed in which blocks, and what that costs."""

    shape: tuple[int, int]
    """Height and width of the grid [px]."""
    leads: int
    core_px: int
    halo_px: int
    stride: int
    block_leads: int
    tile_bytes: int
    """Largest memory of one tile [B]."""
    read_bytes: int
    """What all tiles of all blocks read [B]."""
    seconds: float
    """Rough estimate of the time [s]."""
    mode: str = "exact"
    """``blend``: tiles overlap by the halo and are averaged, which is approximate."""
    own_bytes: int = 0
    """What a worker holds beside its tile [B]."""
    task_seconds: float = 0.0
    """Rough estimate of one task [s]."""

    @property
    def memory(self) -> MemoryPlan:
        """What a worker needs."""
        return MemoryPlan(f"a tile of {self.core_px} px", self.tile_bytes, self.own_bytes)

    @cached_property
    def tiles(self) -> list[Tile]:
        """List the tiles of the grid; the same ones serve every block."""
        return plan_tiles(self.shape, core=self.core_px, halo=self.halo_px, stride=self.stride)

    @property
    def work_seconds(self) -> float:
        """Estimate of the time of all tasks one after the other [s]."""
        return self.n_tasks * self.task_seconds

    @property
    def n_tiles(self) -> int:
        """Tiles of one block."""
        return count_tiles(self.shape, core=self.core_px)

    @property
    def read_shape_px(self) -> tuple[int, int]:
        """Height and width of what every tile reads [px]."""
        return tile_read_shape(
            self.shape, core=self.core_px, halo=self.halo_px, stride=self.stride
        )

    def tile_index(self, tile: Tile) -> int:
        """Find the index of a tile among ``tiles``."""
        n_cols = math.ceil(self.shape[1] / self.core_px)
        return tile.owns.y0 // self.core_px * n_cols + tile.owns.x0 // self.core_px

    @property
    def blocks(self) -> list[LeadBlock]:
        """List the blocks of leads; the last one may be shorter."""
        starts = range(0, self.leads, self.block_leads)
        return [LeadBlock(s, min(self.block_leads, self.leads - s)) for s in starts]

    @property
    def n_passes(self) -> int:
        """How often all tiles are gone through: once a block, or to roll and to blend."""
        return 2 if self.mode == "blend" else len(self.blocks)

    @property
    def redundancy(self) -> float:
        """Pixels computed over pixels owned."""
        height, width = self.read_shape_px
        return self.n_tiles * height * width / (self.shape[0] * self.shape[1])

    @property
    def n_tasks(self) -> int:
        """Tiles of all passes."""
        return self.n_tiles * self.n_passes

    @property
    def layout(self) -> Layout:
        """Chunks and shards of the forecast: what a tile owns is whole shards."""
        chunk_y, shard_y = _chunk_and_shard(self.core_px, self.shape[0])
        chunk_x, shard_x = _chunk_and_shard(self.core_px, self.shape[1])
        return Layout((1, chunk_y, chunk_x), (1, shard_y, shard_x))

    def fits(self, workers: WorkerPool) -> bool:
        """Whether one worker's memory holds a tile beside the worker itself."""
        return self.tile_bytes <= workers.task_bytes_available

    def summary_rows(self) -> list[tuple[str, str]]:
        """List the plan in words and numbers."""
        height, width = self.tiles[0].reads.shape
        tiles = f"{len(self.tiles)} of {self.core_px} px, reading {height} x {width} px"
        blocks = len(self.blocks)
        return [
            ("tiles", tiles),
            ("halo", f"{self.halo_px} px, {_HALO[self.mode]}"),
            ("blocks", f"{blocks} of {pluralize(self.block_leads, 'lead')}"),
            ("redundant work", f"{self.redundancy:.2f} x"),
            ("reads", format_bytes(self.read_bytes)),
            ("memory", str(self.memory)),
            ("tasks", f"{self.n_tasks}"),
        ]


@dataclass(frozen=True, slots=True)
class RolloutWorkload:
    """What is to be rolled out: a network over a grid for a number of leads."""

    shape: tuple[int, int]
    """Height and width of the grid [px]."""
    reach: Reach
    network: ConvLSTMSpec
    leads: int
    members: int = 1
    mode: str = "exact"
    taper_px: int | None = None
    """What blended tiles read beyond what they own; a quarter of a tile by default [px]."""
    batch: int = 1
    """Tiles computed together."""
    n_climatology_maps: int = 0
    """Maps of climatologies that a tile reads: seasons of all variables that want one."""
    is_scored: bool = False
    """Whether tiles are hindcasts, compared with the truth instead of written."""


def plan_rollout(
    workload: RolloutWorkload,
    workers: WorkerPool,
    *,
    core_px: int | None = None,
    block_leads: int | None = None,
) -> RolloutPlan:
    """Choose tiles and blocks: the least estimated time among those that fit the memory.

    Args:
        workload: what is to be computed.
        workers: who computes it.
        core_px: side of a tile where the recipe sets one [px].
        block_leads: leads of a block where the recipe sets them.

    Raises:
        ValueError: no plan fits the memory of a worker.
    """
    plans = list_plans(workload, workers, core_px=core_px, block_leads=block_leads)
    return choose_plan(plans, workers)


def choose_plan(plans: Sequence[RolloutPlan], workers: WorkerPool) -> RolloutPlan:
    """Choose the least estimated time among the plans that fit the memory.

    Raises:
        ValueError: none fits; names the smallest change that would do.
    """
    fitting = [plan for plan in plans if plan.fits(workers)]
    if not fitting:
        min(plans, key=lambda plan: plan.tile_bytes).memory.check(workers)
    return min(fitting, key=lambda plan: plan.seconds)


def list_plans(
    workload: RolloutWorkload,
    workers: WorkerPool,
    *,
    core_px: int | None = None,
    block_leads: int | None = None,
) -> list[RolloutPlan]:
    """List every candidate plan, whether it fits or not."""
    longest = max(workload.shape)
    sides = (core_px,) if core_px else _up_to(longest, _SIDES)
    blocks = _list_block_leads(workload, block_leads)
    return [_plan(workload, workers, side, block) for side, block in product(sides, blocks)]


def _list_block_leads(workload: RolloutWorkload, requested: int | None) -> Sequence[int]:
    """List the lengths of blocks: whole calls of the network, and all leads where it blends."""
    emits = workload.reach.emits
    if workload.mode == "blend":
        return (workload.leads,)  # blended tiles cannot read each other's leads
    if requested is None:
        return sorted({math.ceil(b / emits) * emits for b in _up_to(workload.leads, _BLOCKS)})
    if requested % emits and requested < workload.leads:
        raise ValueError(
            f"rollout.block_leads={requested} is no multiple of the {emits} leads that one "
            f"call of the network gives, so a block would end within a call; set it to "
            f"{math.ceil(requested / emits) * emits}"
        )
    return (requested,)


def _up_to(limit: int, steps: Sequence[int]) -> list[int]:
    """List the steps below ``limit``, and the first one that covers it."""
    below = [step for step in steps if step < limit]
    return [*below, next((step for step in steps if step >= limit), limit)]


def _plan(
    workload: RolloutWorkload, workers: WorkerPool, core: int, block_leads: int
) -> RolloutPlan:
    block = min(block_leads, workload.leads)
    halo = _halo(workload, core, block)
    stride = workload.reach.stride
    height, width = tile_read_shape(workload.shape, core=core, halo=halo, stride=stride)
    n_px = height * width
    n_tiles = count_tiles(workload.shape, core=core)
    n_blocks = math.ceil(workload.leads / block)
    bytes_read = n_px * read_bytes_per_px(workload.network, leads=block)
    flops = (
        n_px * workload.members * rollout_flops_per_px(workload.network, workload.leads, block)
    )
    tile_s = flops / n_blocks / _FLOPS_PER_S + bytes_read / _READ_BYTES_PER_S + _TASK_S
    return RolloutPlan(
        shape=workload.shape,
        leads=workload.leads,
        core_px=core,
        halo_px=halo,
        stride=stride,
        block_leads=block,
        tile_bytes=_tile_bytes(workload, n_px, core, block, n_tiles),
        read_bytes=bytes_read * n_tiles * n_blocks,
        seconds=math.ceil(n_tiles / workers.n_workers) * n_blocks * tile_s,
        mode=workload.mode,
        own_bytes=workers.base_bytes,
        task_seconds=tile_s,
    )


def _tile_bytes(
    workload: RolloutWorkload, n_px: int, core: int, block: int, n_tiles: int
) -> int:
    """Bound what a task holds at a time: a batch of tiles, and fields that stay for others."""
    members = workload.members
    n_owned = min(core, workload.shape[0]) * min(core, workload.shape[1])
    n_bytes = rollout_bytes(
        n_px * workload.batch, workload.network, leads=block, members=members
    )
    n_bytes += cached_fields_bytes(n_px + n_owned, workload.n_climatology_maps, n_tiles)
    if workload.is_scored:
        n_bytes += score_bytes(n_owned, block, members=members)
    return n_bytes


def _halo(workload: RolloutWorkload, core: int, block: int) -> int:
    """Return what a tile reads beyond what it owns [px]."""
    if workload.mode == "exact":
        return workload.reach.radius(block)
    return workload.taper_px or max(1, core // 4)


def _chunk_and_shard(core: int, length: int) -> tuple[int, int]:
    """Return chunk and shard along one axis: a tile owns one shard of equal chunks [px]."""
    if core >= length:
        chunk = min(length, _CHUNK_PX)
        return chunk, math.ceil(length / chunk) * chunk
    chunk = next(side for side in range(min(core, _CHUNK_PX), 0, -1) if core % side == 0)
    return chunk, core
