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
    load: BlockLoader, wanted: Sequence[Sequence[Sample]], executor: Executor
) -> Iterator[Batch]:
    """Yield the batches of some samples of one window shape, read block by block.

    Reads run ahead of the batches, in the order in which these want them first.
    """
    samples = [sample for batch in wanted for sample in batch]
    window = samples[0].window
    most = load.samples_per_read(window)
    reads = plan_reads(load.block_keys(samples), most=most)
    growing = BatchAssembler(
        [len(batch) for batch in wanted], partial(load.empty, window=window)
    )
    if executor.shares_memory:
        rows = ([(growing.row(i), samples[i]) for i in read] for read in reads)
        done = executor.map(load.fill, rows)
    else:
        reads = merge_reads(
            reads, most=min(most, len(samples) // (_TASKS * executor.n_workers))
        )
        asked = (PackedSamples.of([samples[i] for i in read]) for read in reads)
        done = map(growing.write, reads, executor.map(partial(_load, load), asked))
    for read, _ in zip(reads, done, strict=True):
        yield from growing.pop_ready(read)


def _load(load: BlockLoader, asked: PackedSamples) -> Batch:
    """Run on a worker."""
    return load(asked.samples())


class BatchAssembler:
    """Batches that fill up in any order, and leave in theirs.

    Args:
        sizes: samples of each batch.
        empty: makes room for some samples; what nobody has written yet takes no memory.
    """

    def __init__(self, sizes: Sequence[int], empty: Callable[[int], Batch]) -> None:
        self._empty = empty
        self._missing = list(sizes)
        self._numbers = np.repeat(np.arange(len(sizes)), sizes)
        self._starts = np.cumsum(sizes) - sizes
        self._growing: dict[int, Batch] = {}
        self._next = 0

    @property
    def n_incomplete(self) -> int:
        """Batches that hold something and have not left."""
        return len(self._growing)

    def row(self, place: int) -> Batch:
        """Return the arrays of one sample, each without its batch axis, to be written."""
        number = int(self._numbers[place])
        return self._grown(number).row(place - int(self._starts[number]))

    def write(self, places: Sequence[int], samples: Batch) -> None:
        """Write samples that arrived together."""
        for place, *given in zip(places, *samples, strict=True):
            for array, values in zip(self.row(place), given, strict=True):
                array[...] = values

    def pop_ready(self, places: Sequence[int]) -> Iterator[Batch]:
        """Count samples as written; yield the batches that are whole and whose turn it is."""
        for place in places:
            self._missing[int(self._numbers[place])] -= 1
        while self._next < len(self._missing) and not self._missing[self._next]:
            yield self._growing.pop(self._next)
            self._next += 1

    def _grown(self, number: int) -> Batch:
        if number not in self._growing:
            self._growing[number] = self._empty(self._missing[number])
        return self._growing[number]
