"""Plan a rollout: tiles, bytes and tasks, before anything is read."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.models import ConvLSTMShape, Reach
from pipeline.tiling.plan import Tile, plan_tiles, redundancy
from stores.layout import Layout

_SIDES = (32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048)
_CHUNK_PX = 512


@dataclass(frozen=True)
class RolloutPlan:
    """Which tiles are computed, and what they cost."""

    shape: tuple[int, int]
    tiles: list[Tile]
    core_px: int
    halo_px: int
    tile_bytes: int
    """Largest memory of one task [B]."""

    @property
    def redundancy(self) -> float:
        """Pixels computed over pixels owned."""
        return redundancy(self.tiles)

    @property
    def layout(self) -> Layout:
        """Chunks and shards of the forecast: what a tile owns is whole shards."""
        (cy, sy), (cx, sx) = (_owned(self.core_px, length) for length in self.shape)
        return Layout((1, cy, cx), (1, sy, sx))

    def rows(self) -> list[tuple[str, str]]:
        """Say the plan in words and numbers."""
        read = self.tiles[0].reads.shape
        return [
            (
                "tiles",
                f"{len(self.tiles)} of {self.core_px} px, reading {read[0]} x {read[1]} px",
            ),
            ("halo", f"{self.halo_px} px, exact"),
            ("redundant work", f"{self.redundancy:.2f} x"),
            ("memory of a task", f"{self.tile_bytes / 2**20:.0f} MiB"),
            ("tasks", f"{len(self.tiles)}"),
        ]


def plan_rollout(
    shape: tuple[int, int],
    reach: Reach,
    network: ConvLSTMShape,
    *,
    leads: int,
    core_px: int | None,
    worker: tuple[int, int],
) -> RolloutPlan:
    """Choose tiles for a grid of ``shape`` (y, x).

    Args:
        shape: height and width of the grid [px].
        reach: how far the network looks.
        network: sizes of the network, for its memory.
        leads: frames to forecast.
        core_px: side of a tile where the recipe states one.
        worker: number of workers and memory of each [B].

    Raises:
        ValueError: no tile fits the memory of a worker.
    """
    n_workers, worker_bytes = worker
    sides = (core_px,) if core_px else _SIDES
    plans = [_plan(shape, reach, network, leads, side) for side in sides]
    fitting = [plan for plan in plans if plan.tile_bytes <= worker_bytes]
    if not fitting:
        least = min(plans, key=lambda plan: plan.tile_bytes)
        enough = math.ceil(least.tile_bytes / 1e8) / 10
        raise ValueError(
            f"a tile of {least.core_px} px with its halo of {least.halo_px} px needs "
            f"{least.tile_bytes / 1e9:.2f} GB but a worker has {worker_bytes / 1e9:.2f} GB, so "
            f"it would be killed; set compute.memory_gb={enough} or use fewer workers"
        )
    return min(fitting, key=lambda plan: _rounds(plan, n_workers))


def _plan(
    shape: tuple[int, int], reach: Reach, network: ConvLSTMShape, leads: int, core: int
) -> RolloutPlan:
    halo = reach.radius(leads)
    tiles = plan_tiles(shape, core=core, halo=halo, stride=reach.stride)
    n_bytes = rollout_bytes(tiles[0].reads.size, network, leads=leads)
    return RolloutPlan(shape, tiles, core, halo, n_bytes)


def _owned(core: int, length: int) -> tuple[int, int]:
    """Give chunk and shard along one axis: a tile owns one shard of equal chunks [px]."""
    if core >= length:
        chunk = min(length, _CHUNK_PX)
        return chunk, math.ceil(length / chunk) * chunk
    chunk = next(side for side in range(min(core, _CHUNK_PX), 0, -1) if core % side == 0)
    return chunk, core


def _rounds(plan: RolloutPlan, n_workers: int) -> int:
    """Pixels that the busiest worker computes."""
    return math.ceil(len(plan.tiles) / n_workers) * plan.tiles[0].reads.size


def rollout_bytes(n_px: int, network: ConvLSTMShape, *, leads: int) -> int:
    """Bound the memory of a rollout of ``n_px`` pixels [B].

    Counted are float32 values per pixel: the inputs and outputs of all leads, and in the
    widest layer the convolved inputs and hidden maps of all frames with the working copies
    of one step.
    """
    history, widest = network.history, max(network.hidden)
    inputs = 2 * (history + leads) * network.channels
    layer = history * (network.channels + 6 * widest) + 12 * widest
    return 4 * n_px * (inputs + layer + 3 * leads)
