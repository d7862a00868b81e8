"""The order of an epoch: shuffled by blocks through a buffer, and what is read for it when."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.streams.batch import Batch

Order = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]


def order_by_blocks(
    blocks: Sequence[Hashable], *, room: int, seed: Sequence[int] | None
) -> Order:
    """Order samples so that those of one block come near each other.

    Samples keep their order when all of them fit into ``room``. Otherwise blocks come one after
    the other - in an order of their own when there is a ``seed`` - and their samples pass
    through a buffer of ``room`` samples, out of which a random one leaves as another enters.

    Args:
        blocks: block of every sample.
        room: samples in the buffer at once.
        seed: of every choice; None sorts by blocks and shuffles nothing.
    """
    if len(blocks) <= room:
        return np.arange(len(blocks))
    members: dict[Hashable, list[int]] = {}
    for index, block in enumerate(blocks):
        members.setdefault(block, []).append(index)
    if seed is None:
        return np.array([index for group in members.values() for index in group])
    rng = np.random.default_rng(seed)
    groups = list(members.values())
    stream = [index for chosen in rng.permutation(len(groups)) for index in groups[chosen]]
    return _buffered(stream, room, rng)


def _buffered(stream: Sequence[int], room: int, rng: np.random.Generator) -> Order:
    """Pass a stream through a buffer out of which a random one leaves at a time."""
    buffer, order = list(stream[:room]), np.empty(len(stream), dtype=np.int64)
    chances = rng.random(len(stream))
    for index, chance in enumerate(chances):
        at = int(chance * len(buffer))
        order[index] = buffer[at]
        if index + room < len(stream):
            buffer[at] = stream[index + room]
        else:
            buffer[at] = buffer[-1]
            buffer.pop()
    return order


def plan_reads(blocks: Sequence[Hashable], *, most: int) -> list[list[int]]:
    """Group the places of an order into reads: whole blocks, as late as their first sample.

    Together the reads hold every place exactly once.

    Args:
        blocks: block of every sample, in the order in which samples are wanted.
        most: samples in one read; larger blocks are read in parts.
    """
    reads: list[list[int]] = []
    growing: dict[Hashable, list[int]] = {}
    for place, block in enumerate(blocks):
        read = growing.get(block)
        if read is None or len(read) == most:
            read = growing[block] = []
            reads.append(read)
        read.append(place)
    return reads


class Growing:
    """Batches that fill up in any order, and leave in theirs.

    Args:
        sizes: samples of each batch.
        empty: makes room for some samples; what nobody has written yet takes no memory.
    """

    def __init__(self, sizes: Sequence[int], empty: Callable[[int], Batch]) -> None:
        self._empty, self._missing = empty, list(sizes)
        self._ends = np.cumsum(self._missing)
        self._numbers = np.repeat(np.arange(len(sizes)), sizes)
        self._growing: dict[int, Batch] = {}
        self._next = 0

    @property
    def n_waiting(self) -> int:
        """Batches that hold something and have not left."""
        return len(self._growing)

    def row(self, place: int) -> Batch:
        """Give the arrays of one sample, each without its batch axis, to be written."""
        (number,), (row,) = self._find([place])
        return Batch(*(array[row] for array in self._grown(int(number))))

    def put(self, places: Sequence[int], samples: Batch) -> None:
        """Write samples that arrived together."""
        numbers, rows = self._find(places)
        for number in np.unique(numbers):
            here = numbers == number
            for grown, given in zip(self._grown(int(number)), samples, strict=True):
                grown[rows[here]] = given[here]

    def take(self, places: Sequence[int]) -> Iterator[Batch]:
        """Count samples as written; give the batches that are whole and whose turn it is."""
        for place in places:
            self._missing[int(self._numbers[place])] -= 1
        while self._next < len(self._missing) and not self._missing[self._next]:
            yield self._growing.pop(self._next)
            self._next += 1

    def _find(self, places: Sequence[int]) -> tuple[Indices, Indices]:
        """Find batch and row of samples."""
        numbers = self._numbers[np.asarray(places)]
        starts = np.concatenate([[0], self._ends])[numbers]
        return numbers, np.asarray(places) - starts

    def _grown(self, number: int) -> Batch:
        if number not in self._growing:
            self._growing[number] = self._empty(self._missing[number])
        return self._growing[number]
