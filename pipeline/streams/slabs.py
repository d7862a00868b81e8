"""Slabs: whole chunks of one array, decoded and normalized once, then cut many times."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from pipeline.streams.lru_cache import Arrays, LRUCache
from stores.array_types import AnyArray, BoolArray, Float32Array
from stores.windows import Window

SLAB_BYTES = 2 << 20  # of float32: a call has a cost of its own, but so has what is not used
_MAX_REMEMBERED_WINDOWS = 1 << 16  # whose pieces are kept; moved patches are ever new
SLAB_PX = 256  # least side: tiny chunks are read together

SlabLoader = Callable[[int, int, Window], Arrays]
SlabPiece = tuple[int, int, tuple[slice, slice], tuple[slice, slice]]
"""Row and column of a slab, and where a piece of a window lies there and in the window."""
FrameRuns = Sequence[tuple[int, slice, slice]]
"""Stretches of frames inside one slab: its number, where they stand there, and in the cut."""


@dataclass(frozen=True, slots=True)
class SlabGrid:
    """Frames that an array holds, and the edges of its slabs: whole chunks."""

    start: int
    stop: int
    """Frames that the array has: ``[start, stop)``."""
    grid: tuple[int, int]
    frames: int
    rows: int
    cols: int

    @classmethod
    def of(
        cls, frame_indices: Sequence[int], grid: tuple[int, int], chunk: tuple[int, int, int]
    ) -> SlabGrid:
        """Choose slabs of whole chunks for an array that has the frames ``frame_indices``."""
        rows, cols = (
            min(edge * -(-SLAB_PX // edge), length)
            for edge, length in zip(chunk[1:], grid, strict=True)
        )
        start = frame_indices[0]
        stop = frame_indices[-1] + 1
        # Years may be missing between others; a slab of several would read them.
        is_contiguous = len(frame_indices) == stop - start
        chunks = max(1, is_contiguous * SLAB_BYTES // (chunk[0] * rows * cols * 4))
        return cls(start, stop, grid, chunk[0] * chunks, rows, cols)

    def clip_frames(self, first: int, last: int) -> SlabGrid:
        """Leave out what lies before the frame ``first`` and after ``last``."""
        return replace(self, start=max(self.start, first), stop=min(self.stop, last + 1))

    def touched_slabs(self, window: Window) -> list[tuple[int, int]]:
        """List the slabs that a window touches, by row and column of slabs."""
        rows = range(window.y0 // self.rows, -(-window.y1 // self.rows))
        return list(product(rows, range(window.x0 // self.cols, -(-window.x1 // self.cols))))

    def slab_window(self, row: int, col: int) -> Window:
        """Return the pixels of a slab."""
        y0 = row * self.rows
        x0 = col * self.cols
        return Window(y0, y0 + self.rows, x0, x0 + self.cols).clip(Window.from_shape(self.grid))

    def windows(self, window: Window) -> list[Window]:
        """Cut a window along the edges of slabs, where it stands in the grid."""
        return [window.clip(self.slab_window(*corner)) for corner in self.touched_slabs(window)]

    def intersect(self, window: Window) -> list[SlabPiece]:
        """Cut a window along the edges of slabs."""
        pieces = []
        for row, col in self.touched_slabs(window):
            slab = self.slab_window(row, col)
            piece = window.clip(slab)
            pieces.append(
                (row, col, piece.relative_to(slab).slices, piece.relative_to(window).slices)
            )
        return pieces

    def frame_range(self, number: int) -> tuple[int, int]:
        """Return the frames of a slab."""
        first = number * self.frames
        return max(first, self.start), min(first + self.frames, self.stop)

    @property
    def slab_shape(self) -> tuple[int, int]:
        """Rows and columns of a slab [px]."""
        return self.rows, self.cols

    def frame_runs(self, frame_indices: Sequence[int]) -> FrameRuns:
        """Cut frames into stretches of neighbors inside one slab."""
        runs: list[tuple[int, slice, slice]] = []
        begin = 0
        for index in range(1, len(frame_indices) + 1):
            first = frame_indices[begin]
            number = first // self.frames
            is_end = (
                index == len(frame_indices)
                or frame_indices[index] != frame_indices[index - 1] + 1
            )
            if is_end or frame_indices[index] // self.frames != number:
                start = first - self.frame_range(number)[0]
                runs.append((number, slice(start, start + index - begin), slice(begin, index)))
                begin = index
        return runs


class SlabReader:
    """One array (t, y, x) - or several of equal shape - that is read slab by slab.

    Args:
        key: what stands for this array in the cache.
        shape: its slabs.
        read: reads the arrays of the frames ``[start, stop)`` of a window.
        cache: where slabs stay for the next read.
    """

    def __init__(
        self, key: Hashable, shape: SlabGrid, read: SlabLoader, cache: LRUCache
    ) -> None:
        self.shape = shape
        self.key = key
        self._read = read
        self._cache = cache
        self._pieces: dict[Window, list[SlabPiece]] = {}

    def read_into(self, runs: FrameRuns, window: Window, out: Sequence[AnyArray]) -> None:
        """Copy the frames of ``runs`` inside a window into ``out``, each (t, y, x)."""
        pieces = self._pieces.get(window)
        if pieces is None:
            if len(self._pieces) >= _MAX_REMEMBERED_WINDOWS:
                self._pieces.clear()
            pieces = self._pieces[window] = self.shape.intersect(window)
        for row, col, slab_slices, window_slices in pieces:
            for number, slab_frames, out_frames in runs:
                slab = self._slab(number, row, col)
                for target, source in zip(out, slab, strict=False):  # the rest is not asked for
                    target[out_frames, *window_slices] = source[slab_frames, *slab_slices]

    def _slab(self, number: int, row: int, col: int) -> Arrays:
        def read() -> Arrays:
            return self._read(*self.shape.frame_range(number), self.shape.slab_window(row, col))

        return self._cache.get_or_load((self.key, number, row, col), read)

    def touched_bytes(
        self, frame_indices: Iterable[int], windows: Iterable[Window], pixel_bytes: int
    ) -> int:
        """Compute how much all slabs hold that frames of some windows touch [B]."""
        numbers = {index // self.shape.frames for index in frame_indices}
        corners = {
            corner for window in set(windows) for corner in self.shape.touched_slabs(window)
        }
        frames = sum(stop - start for start, stop in map(self.shape.frame_range, numbers))
        pixels = sum(self.shape.slab_window(*corner).size for corner in corners)
        return frames * pixels * pixel_bytes


def fill_invalid(
    values: Float32Array,
) -> tuple[AnyArray, BoolArray]:
    """Set invalid values (t, y, x) to 0, in place; return them, and where they are valid."""
    valid = np.isfinite(values)
    invalid = np.logical_not(valid, out=valid)
    np.copyto(values, np.float32(0), where=invalid)
    return values, np.logical_not(invalid, out=invalid)
