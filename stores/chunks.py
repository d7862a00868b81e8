"""Chunks as files: which a store must hold, and which pixels a damaged one covers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import zarr

from stores.arrays import get_array
from stores.cube import STEP_KEY
from stores.names import TIME
from stores.times import Step

ChunkIndex = tuple[int, ...]

_MAX_FILES = 10_000_000  # of one array; none of ours has a tenth

DECODE_ERRORS = (
    ValueError,
    RuntimeError,
    OSError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
)
"""What zarr and its codecs raise for bytes that are not what was written."""


@dataclass(frozen=True, slots=True)
class ChunkFile:
    """One file of an array: a chunk, or a shard of several."""

    array: str
    key: str
    index: ChunkIndex
    start: ChunkIndex
    stop: ChunkIndex


def list_chunk_files(group: zarr.Group) -> dict[str, ChunkFile]:
    """List every file that the arrays of ``group`` must have, by its path in the group."""
    return {
        f"{name}/{file.key}": file
        for name, array in sorted(group.arrays())
        for file in _files_of(name, array)
    }


def describe_chunk_file(group: zarr.Group, file: ChunkFile) -> str:
    """Describe which chunk a file is and which times and pixels it covers."""
    array = get_array(group, file.array)
    kind = "shard" if array.shards else "chunk"
    where = _describe_box(group, array, file.start, file.stop)
    return f"{kind} {_format_index(file.index)} of {file.array!r} ({where})"


def find_broken_chunks(group: zarr.Group, file: ChunkFile) -> list[str]:
    """List the chunks inside a shard that can no longer be read; none when it is no shard."""
    array = get_array(group, file.array)
    if array.shards is None:
        return []
    broken = []
    for start, stop in _chunk_bounds(file.start, file.stop, array.chunks):
        if not _is_decodable(array, start, stop):
            index = tuple(
                begin // size for begin, size in zip(start, array.chunks, strict=True)
            )
            where = _describe_box(group, array, start, stop)
            broken.append(f"chunk {_format_index(index)} ({where})")
    return broken


def is_readable(group: zarr.Group, file: ChunkFile) -> bool:
    """Return whether one file can be decoded, which proves its checksums."""
    return _is_decodable(get_array(group, file.array), file.start, file.stop)


def describe_chunk_path(path: str) -> str:
    """Describe a chunk file by its path alone, where its store cannot be opened."""
    parts = PurePosixPath(path).parts
    if "c" not in parts:
        return path
    position = parts.index("c")
    return f"chunk ({', '.join(parts[position + 1 :])}) of {parts[position - 1]!r}"


def _files_of(name: str, array: zarr.Array[Any]) -> Iterator[ChunkFile]:
    size = array.shards or array.chunks
    counts = [math.ceil(length / edge) for length, edge in zip(array.shape, size, strict=True)]
    if math.prod(counts) > _MAX_FILES:
        raise ValueError(
            f"{name!r} of shape {array.shape} would be {math.prod(counts)} files, so its "
            "metadata is not what any of us writes; restore it from a copy"
        )
    for index in product(*map(range, counts)):
        start = tuple(i * edge for i, edge in zip(index, size, strict=True))
        stop = tuple(
            min(begin + edge, length)
            for begin, edge, length in zip(start, size, array.shape, strict=True)
        )
        yield ChunkFile(name, array.metadata.encode_chunk_key(index), index, start, stop)


def _chunk_bounds(
    start: ChunkIndex, stop: ChunkIndex, size: ChunkIndex
) -> Iterator[tuple[ChunkIndex, ChunkIndex]]:
    edges = [range(b, e, edge) for b, e, edge in zip(start, stop, size, strict=True)]
    for corner in product(*edges):
        yield corner, tuple(min(b + s, e) for b, s, e in zip(corner, size, stop, strict=True))


def _is_decodable(array: zarr.Array[Any], start: ChunkIndex, stop: ChunkIndex) -> bool:
    try:
        array[tuple(slice(begin, end) for begin, end in zip(start, stop, strict=True))]
    except DECODE_ERRORS:
        return False
    return True


def _describe_box(
    group: zarr.Group, array: zarr.Array[Any], start: ChunkIndex, stop: ChunkIndex
) -> str:
    names = array.metadata.dimension_names or ()  # type: ignore[union-attr]
    sides = zip(names, start, stop, strict=True)
    return (
        " ".join(_describe_side(group, str(name), b, e) for name, b, e in sides) or "all of it"
    )


def _describe_side(group: zarr.Group, name: str, start: int, stop: int) -> str:
    if name != TIME:
        return f"{name}[{start}:{stop}]"
    labels = _label_times(group, start, stop)
    return f"time {labels}" if labels else f"{name}[{start}:{stop}]"


def _label_times(group: zarr.Group, start: int, stop: int) -> str:
    times = get_array(group, TIME)
    step_text = group.attrs.get("step", group.attrs.get(STEP_KEY))  # of a forecast, of a cube
    if not _is_decodable(times, (start,), (stop,)) or step_text is None:
        return ""
    step = Step.parse(str(step_text))
    first, last = step.decode(np.asarray(times[start:stop]))[[0, -1]]
    return step.label_range(first, last)


def _format_index(index: ChunkIndex) -> str:
    return f"({', '.join(map(str, index))})"
