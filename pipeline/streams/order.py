"""The order of an epoch: shuffled by blocks through a buffer, and what is read for it when."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.streams.batch import Batch

Order = npt.NDArray[np.int64]


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


def gather(
    reads: Sequence[Sequence[int]], results: Iterator[Batch], *, batch: int
) -> Iterator[Batch]:
    """Put samples that arrive read by read into their batches; yield each once it is whole.

    Args:
        reads: places of the samples in each result.
        results: arrays of the reads, in their order.
        batch: samples per batch; the last one may be smaller.
    """
    n = sum(map(len, reads))
    growing: dict[int, Batch] = {}
    missing = {number: min(batch, n - start) for number, start in enumerate(range(0, n, batch))}
    wanted = 0
    for places, result in zip(reads, results, strict=True):
        for number, here, rows in _by_batch(np.asarray(places), batch):
            if number not in growing:
                growing[number] = _like(result, missing[number])
            for filled, given in zip(growing[number], result, strict=True):
                filled[rows] = given[here]
            missing[number] -= len(rows)
        while wanted in growing and not missing[wanted]:
            yield growing.pop(wanted)
            wanted += 1


def _by_batch(places: Order, batch: int) -> Iterator[tuple[int, Order, Order]]:
    """Split the places of a read: the batch, where they stand in the read, and in the batch."""
    numbers = places // batch
    for number in np.unique(numbers):
        here = np.flatnonzero(numbers == number)
        yield int(number), here, places[here] - number * batch


def _like(result: Batch, n: int) -> Batch:
    """Make room for a batch; what nobody has written yet takes no memory."""
    return Batch(*(np.empty((n, *array.shape[1:]), dtype=array.dtype) for array in result))
