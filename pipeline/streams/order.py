"""The order of an epoch: shuffled by blocks through a buffer, and what is read for it when."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from stores.array_types import IntArray

Order = IntArray


def order_by_blocks(
    blocks: Sequence[Hashable], *, buffer_size: int, seed: Sequence[int] | None
) -> Order:
    """Order samples (n,) so that those of one block come near each other.

    Samples keep their order when all of them fit into ``buffer_size``. Otherwise blocks come
    one after the other - in an order of their own when there is a ``seed`` - and their samples
    pass through a buffer of ``buffer_size`` samples, out of which a random one leaves as
    another enters.

    Args:
        blocks: block of every sample.
        buffer_size: samples in the buffer at once.
        seed: of every choice; None sorts by blocks and shuffles nothing.
    """
    if len(blocks) <= buffer_size:
        return np.arange(len(blocks))
    members: dict[Hashable, list[int]] = {}
    for index, block in enumerate(blocks):
        members.setdefault(block, []).append(index)
    if seed is None:
        return np.array([index for group in members.values() for index in group])
    rng = np.random.default_rng(seed)
    groups = list(members.values())
    stream = [index for number in rng.permutation(len(groups)) for index in groups[number]]
    return _buffered(stream, buffer_size, rng)


def _buffered(stream: Sequence[int], buffer_size: int, rng: np.random.Generator) -> Order:
    """Pass a stream through a buffer out of which a random sample leaves at a time (n,)."""
    buffer = list(stream[:buffer_size])
    order = np.empty(len(stream), dtype=np.int64)
    draws = rng.random(len(stream))
    for index, draw in enumerate(draws):
        slot = int(draw * len(buffer))
        order[index] = buffer[slot]
        if index + buffer_size < len(stream):
            buffer[slot] = stream[index + buffer_size]
        else:
            buffer[slot] = buffer[-1]
            buffer.pop()
    return order


def plan_reads(blocks: Sequence[Hashable], *, max_samples: int) -> list[list[int]]:
    """Group the positions of an order into reads: whole blocks, as late as their first sample.

    Together the reads hold every position exactly once.

    Args:
        blocks: block of every sample, in the order in which samples are needed.
        max_samples: samples in one read; larger blocks are read in parts.
    """
    reads: list[list[int]] = []
    growing: dict[Hashable, list[int]] = {}
    for position, block in enumerate(blocks):
        read = growing.get(block)
        if read is None or len(read) == max_samples:
            read = growing[block] = []
            reads.append(read)
        read.append(position)
    return reads


def merge_reads(reads: Sequence[Sequence[int]], *, max_samples: int) -> list[list[int]]:
    """Join reads that follow each other, because every task has a cost of its own.

    Args:
        reads: positions of an order, as ``plan_reads`` groups them.
        max_samples: samples in a joined read; a read that has more stays as it is.
    """
    joined: list[list[int]] = []
    for read in reads:
        if joined and len(joined[-1]) + len(read) <= max_samples:
            joined[-1] += read
        else:
            joined.append(list(read))
    return joined
