"""Chunks and shards: what is read together, and what one writer owns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stores.windows import Window

_CHUNK_BYTES = 1 << 20  # small enough for a patch, large enough for a disk and a request
_SHARD_BYTES = 64 << 20  # few files, and still a fraction of a worker's memory


@dataclass(frozen=True, slots=True)
class Layout:
    """Chunk and shard of a (time, y, x) array; the last two numbers serve (y, x) too."""

    chunk: tuple[int, int, int]
    shard: tuple[int, int, int]

    def shard_windows(self, shape: tuple[int, int]) -> list[Window]:
        """Cut a grid into the windows that one writer owns."""
        return list(Window.from_shape(shape).blocks(*self.shard[1:]))


def plan_layout(
    shape: tuple[int, int],
    *,
    chunk_bytes: int = _CHUNK_BYTES,
    shard_bytes: int = _SHARD_BYTES,
    itemsize: int = 4,
) -> Layout:
    """Choose chunks and shards for frames of ``shape`` (y, x).

    One frame is one step of the series, so that a new month never touches an old shard. Chunks
    are near-square powers of two (or the whole grid); shards are whole numbers of chunks.
    """
    side = 1 << max(4, int(math.log2(math.sqrt(chunk_bytes / itemsize))))
    chunk = tuple(min(side, length) for length in shape)
    per_shard = max(1, math.isqrt(shard_bytes // (chunk[0] * chunk[1] * itemsize)))
    shard = tuple(
        size * min(per_shard, math.ceil(length / size))
        for size, length in zip(chunk, shape, strict=True)
    )
    return Layout((1, *chunk), (1, *shard))  # type: ignore[arg-type]


def check_shard_aligned(
    start: Sequence[int],
    stop: Sequence[int],
    *,
    shape: Sequence[int],
    shard: Sequence[int],
    dims: Sequence[str],
) -> None:
    """Refuse a write that does not own every shard it touches.

    Two writers in one shard overwrite each other's data without an error, so a block has to
    begin on a shard's edge and end on one, or at the end of the array.

    Raises:
        ValueError: a side of the block lies inside a shard; names dimension and edge.
    """
    for begin, end, length, edge, dim in zip(start, stop, shape, shard, dims, strict=True):
        if begin % edge or (end % edge and end != length) or end > length:
            raise ValueError(
                f"block {dim}[{begin}:{end}] does not end on a shard edge of {dim!r} "
                f"({edge}, length {length}), so two workers could write one shard; "
                f"plan blocks in multiples of {edge}"
            )
