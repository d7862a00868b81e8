"""Batches that fill up as the blocks of their samples are read, and leave in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from pipeline.executors import Executor
from pipeline.streams.batch import Batch
from pipeline.streams.loader import BlockLoader
from pipeline.streams.order import merge_reads, plan_reads
from pipeline.streams.samples import PackedSamples, Sample

_TASKS = 4  # that every worker has at least: more share the work evenly, fewer cost less


def assemble_batches(
    load: BlockLoader, batches: Sequence[Sequence[Sample]], executor: Executor
) -> Iterator[Batch]:
    """Yield the batches of some samples of one window shape, read block by block.

    Reads run ahead of the batches, in the order in which these want them first.
    """
    samples = [sample for batch in batches for sample in batch]
    window = samples[0].window
    max_samples = load.samples_per_read(window)
    reads = plan_reads(load.block_keys(samples), max_samples=max_samples)
    assembler = BatchAssembler(
        [len(batch) for batch in batches], partial(load.empty, window=window)
    )
    if executor.shares_memory:
        rows = ([(assembler.row(i), samples[i]) for i in read] for read in reads)
        done = executor.map(load.fill, rows)
    else:
        reads = merge_reads(
            reads,
            max_samples=min(max_samples, len(samples) // (_TASKS * executor.n_workers)),
        )
        packed = (PackedSamples.of([samples[i] for i in read]) for read in reads)
        done = map(assembler.write, reads, executor.map(partial(_load, load), packed))
    for read, _ in zip(reads, done, strict=True):
        yield from assembler.pop_ready(read)


def _load(load: BlockLoader, packed: PackedSamples) -> Batch:
    """Load packed samples, on a worker."""
    return load(packed.samples())


class BatchAssembler:
    """Batches that fill up in any order, and leave in theirs.

    Args:
        sizes: samples of each batch.
        empty: allocates arrays for some samples; pages that are not written take no memory.
    """

    def __init__(self, sizes: Sequence[int], empty: Callable[[int], Batch]) -> None:
        self._empty = empty
        self._missing = list(sizes)
        self._batch_index = np.repeat(np.arange(len(sizes)), sizes)
        self._starts = np.cumsum(sizes) - sizes
        self._incomplete: dict[int, Batch] = {}
        self._next = 0

    @property
    def n_incomplete(self) -> int:
        """Batches that hold something and have not left."""
        return len(self._incomplete)

    def row(self, position: int) -> Batch:
        """Return the arrays of one sample, each without its batch axis, to be written."""
        number = int(self._batch_index[position])
        return self._batch(number).row(position - int(self._starts[number]))

    def write(self, positions: Sequence[int], samples: Batch) -> None:
        """Write samples that arrived together."""
        for position, *arrays in zip(positions, *samples, strict=True):
            for array, values in zip(self.row(position), arrays, strict=True):
                array[...] = values

    def pop_ready(self, positions: Sequence[int]) -> Iterator[Batch]:
        """Count samples as written; yield the batches that are whole and whose turn it is."""
        for position in positions:
            self._missing[int(self._batch_index[position])] -= 1
        while self._next < len(self._missing) and not self._missing[self._next]:
            yield self._incomplete.pop(self._next)
            self._next += 1

    def _batch(self, number: int) -> Batch:
        if number not in self._incomplete:
            self._incomplete[number] = self._empty(self._missing[number])
        return self._incomplete[number]
