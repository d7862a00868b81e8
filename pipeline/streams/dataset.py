"""Batches that workers read ahead while the network learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from pipeline.spread import OnThreads, Spread, free_bytes
from pipeline.streams.growing import grow_batches
from pipeline.streams.loader import BlockLoader
from pipeline.streams.order import order_by_blocks
from pipeline.streams.patchplan import PatchPlan
from pipeline.streams.samples import Batch, Sample

Mode = Literal["memory", "streamed"]
Load = Callable[[Sequence[Sample]], Batch]

_TRAINER_SHARE = 0.25  # of the free memory, for one part: training and validation both keep one
_BUFFER_BYTES = 2 << 30  # of shuffled samples at once, however many the recipe asks for


@dataclass(frozen=True, slots=True)
class _Way:
    """How batches come: the mode and why, what loads, where, and whether by blocks."""

    mode: Mode
    why: str
    load: Load
    spread: Spread
    by_block: bool


class StreamedBatches(IterableDataset[list[Tensor]]):
    """Stream batches through a bounded, ordered window of workers, or cut them from memory.

    Which samples stand in which batch is a pure function of (plan, epoch), and batches arrive
    in that order: neither the number of workers nor the mode changes a bit.

    ``epoch`` says which epoch comes next. ``first_batch`` counts batches of that epoch that
    were consumed before: they are skipped without being read. The length is that of a whole
    epoch.

    Args:
        load: reads the arrays of some samples; picklable.
        samples: all samples of the part, or the plan that draws them.
        batch: samples per batch.
        spread: where samples are read, unless all of them fit into this process.
        seed: seed of the shuffle; None keeps the order of ``samples``. A plan has its own.
        per_epoch: samples drawn per epoch; all by default. A plan has its own.
    """

    memory_bytes: int | None = None
    """What may be kept in this process [B]; a quarter of the free memory by default."""

    def __init__(
        self,
        load: Load,
        samples: Sequence[Sample] | PatchPlan,
        *,
        batch: int,
        spread: Spread,
        seed: int | None = None,
        per_epoch: int | None = None,
    ) -> None:
        if not isinstance(samples, PatchPlan):
            samples = PatchPlan(tuple(samples), seed, per_epoch)
        self.patches = samples
        self._load, self._batch, self._spread = load, batch, spread
        self.epoch = 0
        self.first_batch = 0
        """Batches of this epoch that were learned from before; resumed training skips them."""

    def __len__(self) -> int:
        return -(-self.patches.n_drawn // self._batch)

    @property
    def mode(self) -> Mode:
        """Say how batches come: cut from ``memory``, or ``streamed``."""
        return self._way.mode

    @property
    def why(self) -> str:
        """Say why they come that way."""
        return self._way.why

    @cached_property
    def _way(self) -> _Way:
        """Choose, once, how batches come; the numbers are the same either way."""
        if not isinstance(self._load, BlockLoader):
            why = "what loads the samples reads each by itself"
            return _Way("streamed", why, self._load, self._spread, by_block=False)
        need = self._load.whole_bytes(self.patches.reads)
        have = free_bytes() * _TRAINER_SHARE if self.memory_bytes is None else self.memory_bytes
        sizes = f"{need / 1e9:.2f} GB decoded, and {have / 1e9:.2f} GB may be kept here"
        if need <= have:
            load = self._load.keep_all().cut
            way = _Way(
                "memory", f"all samples take {sizes}", load, OnThreads(1), by_block=False
            )
        else:
            n = self._spread.n_workers
            why = f"all samples take {sizes}, so {n} workers read them block by block"
            way = _Way("streamed", why, self._load, self._spread, by_block=True)
        return way

    def plan(self) -> list[list[Sample]]:
        """List all batches of this epoch."""
        drawn = self.patches.draw(self.epoch)
        if isinstance(self._load, BlockLoader):  # others read each sample by itself anyway
            blocks = self._load.blocks(drawn)
            afford = _BUFFER_BYTES // self._load.sample_bytes(drawn[0].window)
            room = max(self._batch, min(self.patches.buffer, afford))
            seed = self.patches.seed
            order = order_by_blocks(
                blocks, room=room, seed=None if seed is None else (seed, self.epoch, 1)
            )
            drawn = [drawn[index] for index in order]
        return [drawn[i : i + self._batch] for i in range(0, len(drawn), self._batch)]

    def __iter__(self) -> Iterator[list[Tensor]]:
        for batch in self._batches(self.plan()[self.first_batch :]):
            yield [torch.from_numpy(np.ascontiguousarray(array)) for array in Batch(*batch)]

    def _batches(self, wanted: list[list[Sample]]) -> Iterator[Batch]:
        way = self._way
        if not way.by_block or not wanted:
            yield from way.spread.ordered(way.load, wanted)
            return
        assert isinstance(self._load, BlockLoader)
        yield from grow_batches(self._load, wanted, way.spread)
