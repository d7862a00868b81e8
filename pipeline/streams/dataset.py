"""Batches that workers read ahead while the network learns, or that are cut from memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from pipeline.executors import Executor, SerialExecutor, ThreadExecutor, available_bytes
from pipeline.streams.batch import Batch
from pipeline.streams.batch_assembler import assemble_batches
from pipeline.streams.device_reader import DeviceBatchReader
from pipeline.streams.loader import BlockLoader
from pipeline.streams.order import order_by_blocks
from pipeline.streams.patch_plan import PatchPlan
from pipeline.streams.samples import Sample
from stores.formatting import format_bytes

Mode = Literal["device", "memory", "streamed"]
LoadFunction = Callable[[Sequence[Sample]], Batch]

_MEMORY_FRACTION = (
    0.25  # of the free memory, for one part: training and validation both keep one
)
_ALL_BYTES = 1 << 62
_BUFFER_BYTES = 2 << 30  # of shuffled samples at once, however many the recipe asks for


@dataclass(frozen=True, slots=True)
class _BatchSource:
    """Where batches come from: mode and reason, what loads them, and whether by blocks."""

    mode: Mode
    why: str
    load: Callable[[Sequence[Sample]], Batch | list[Tensor]]
    executor: Executor
    by_block: bool = False


class BatchDataset(IterableDataset[list[Tensor]]):
    """Stream batches through a bounded, ordered window of workers, or cut them from memory.

    The memory is that of the device that learns, where batches then are at once, or that of
    this process.

    Which samples stand in which batch is a pure function of (plan, epoch), and batches arrive
    in that order: neither the number of workers nor the mode changes a bit.

    ``epoch`` says which epoch comes next. ``first_batch`` counts batches of that epoch that
    were consumed before: they are skipped without being read. The length is that of a whole
    epoch.

    Args:
        load: reads the arrays of some samples; picklable.
        samples: all samples of the part, in their order, or the plan that draws them.
        batch: samples per batch.
        executor: where samples are read, unless all of them fit into this process. In place, a
            thread reads ahead.
        device: what learns from the batches.
    """

    memory_bytes: int | None = None
    """What may be kept in this process [B]; a quarter of the free memory by default."""
    device_bytes: int | None = None
    """What may be kept on a device [B]; a quarter of a GPU's free memory by default."""

    def __init__(
        self,
        load: LoadFunction,
        samples: Sequence[Sample] | PatchPlan,
        *,
        batch: int,
        executor: Executor,
        device: torch.device | None = None,
    ) -> None:
        self.patch_plan = (
            samples if isinstance(samples, PatchPlan) else PatchPlan(tuple(samples))
        )
        self._load = load
        self._batch = batch
        self._executor = executor
        self._device = device or torch.device("cpu")
        self.epoch = 0
        self.first_batch = 0
        """Batches of this epoch that were learned from before; resumed training skips them."""

    def __len__(self) -> int:
        return -(-self.patch_plan.n_drawn // self._batch)

    @property
    def mode(self) -> Mode:
        """How batches come: cut on the ``device``, cut from ``memory``, or ``streamed``."""
        return self._batch_source.mode

    @property
    def reason(self) -> str:
        """Why they come that way."""
        return self._batch_source.why

    @cached_property
    def _batch_source(self) -> _BatchSource:
        """Choose, once, how batches come; the numbers are the same either way."""
        load = self._load
        reads = self.patch_plan.read_windows
        if not isinstance(load, BlockLoader):
            why = "what loads the samples reads each by itself"
            return _BatchSource("streamed", why, load, self._executor)
        reasons = []
        if budget := self._device_budget:
            on_device = DeviceBatchReader(load.open_reader(0), reads, self._device)
            reasons.append(_compare(on_device.n_bytes, budget, f"on {self._device}"))
            if on_device.n_bytes <= budget:
                return _BatchSource(
                    "device", reasons[0], on_device.read_batch, SerialExecutor()
                )
        needed = load.decoded_bytes(reads)
        budget = self._memory_budget
        reasons.append(_compare(needed, budget, "here"))
        if needed <= budget:
            read_batch = load.open_reader(_ALL_BYTES).read_batch
            return _BatchSource("memory", "; ".join(reasons), read_batch, ThreadExecutor(1))
        executor = self._read_executor
        kind = "threads" if executor.shares_memory else "workers"
        why = (
            f"{'; '.join(reasons)}; so they are read block by block "
            f"({kind}: {executor.n_workers})"
        )
        return _BatchSource("streamed", why, load, executor, by_block=True)

    @property
    def _read_executor(self) -> Executor:
        """What reads ahead; never the thread that trains.

        Where a GPU computes, this process's share of the cores has nothing else to do.
        """
        if not isinstance(self._executor, SerialExecutor):
            return self._executor
        return ThreadExecutor(torch.get_num_threads() if self._device.type == "cuda" else 1)

    @property
    def _memory_budget(self) -> int:
        """What may be kept in this process [B]."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        return int(available_bytes() * _MEMORY_FRACTION)

    @property
    def _device_budget(self) -> int:
        """What may be kept on the device [B]; a processor's memory is this process's."""
        if self.device_bytes is not None or self._device.type != "cuda":
            return self.device_bytes or 0
        free, _ = torch.cuda.mem_get_info(self._device)
        return int(free * _MEMORY_FRACTION)

    def plan_batches(self) -> list[list[Sample]]:
        """List all batches of this epoch."""
        samples = self.patch_plan.sample_epoch(self.epoch)
        if isinstance(self._load, BlockLoader):  # others read each sample by itself anyway
            blocks = self._load.block_keys(samples)
            limit = _BUFFER_BYTES // self._load.sample_bytes(samples[0].window)
            buffer_size = max(self._batch, min(self.patch_plan.buffer, limit))
            seed = self.patch_plan.seed
            order = order_by_blocks(
                blocks,
                buffer_size=buffer_size,
                seed=None if seed is None else (seed, self.epoch, 1),
            )
            samples = [samples[index] for index in order]
        return [samples[i : i + self._batch] for i in range(0, len(samples), self._batch)]

    def __iter__(self) -> Iterator[list[Tensor]]:
        for batch in self._batches(self.plan_batches()[self.first_batch :]):
            yield [_tensor(array) for array in batch]

    def _batches(self, batches: list[list[Sample]]) -> Iterator[Batch | list[Tensor]]:
        source = self._batch_source
        if source.by_block and batches:
            assert isinstance(self._load, BlockLoader)
            return assemble_batches(self._load, batches, source.executor)
        return source.executor.map(source.load, batches)


def _compare(needed: int, budget: int, where: str) -> str:
    sizes = f"{format_bytes(needed)} decoded, and {format_bytes(budget)} may be kept"
    return f"all samples take {sizes} {where}"


def _tensor(array: npt.NDArray[np.generic] | Tensor) -> Tensor:
    if isinstance(array, Tensor):
        return array
    return torch.from_numpy(np.ascontiguousarray(array))
