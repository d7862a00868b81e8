"""Batches that fill up as the blocks of their samples are read, and leave in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from pipeline.spread import Spread
from pipeline.streams.batch import Batch
from pipeline.streams.loader import BlockLoader
from pipeline.streams.order import join_reads, plan_reads
from pipeline.streams.samples import Keys, Sample

_TASKS = 4  # that every worker has at least: more share the work evenly, fewer cost less


def grow_batches(
    load: BlockLoader, wanted: Sequence[Sequence[Sample]], spread: Spread
) -> Iterator[Batch]:
    """Yield the batches of some samples of one window shape, read block by block.

    Reads run ahead of the batches, in the order in which these want them first.
    """
    samples = [sample for batch in wanted for sample in batch]
    window = samples[0].window
    most = load.per_read(window)
    reads = plan_reads(load.blocks(samples), most=most)
    growing = Growing([len(batch) for batch in wanted], partial(load.empty, window=window))
    if spread.shares_memory:
        rows = ([(growing.row(i), samples[i]) for i in read] for read in reads)
        done = spread.ordered(load.fill, rows)
    else:
        reads = join_reads(reads, most=min(most, len(samples) // (_TASKS * spread.n_workers)))
        asked = (Keys.of([samples[i] for i in read]) for read in reads)
        done = map(growing.put, reads, spread.ordered(partial(_load, load), asked))
    for read, _ in zip(reads, done, strict=True):
        yield from growing.take(read)


def _load(load: BlockLoader, asked: Keys) -> Batch:
    """Run on a worker."""
    return load(asked.samples())


class Growing:
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
    def n_waiting(self) -> int:
        """Batches that hold something and have not left."""
        return len(self._growing)

    def row(self, place: int) -> Batch:
        """Return the arrays of one sample, each without its batch axis, to be written."""
        number = int(self._numbers[place])
        return self._grown(number).row(place - int(self._starts[number]))

    def put(self, places: Sequence[int], samples: Batch) -> None:
        """Write samples that arrived together."""
        for place, *given in zip(places, *samples, strict=True):
            for array, values in zip(self.row(place), given, strict=True):
                array[...] = values

    def take(self, places: Sequence[int]) -> Iterator[Batch]:
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
