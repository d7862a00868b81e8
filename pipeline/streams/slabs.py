"""Slabs: whole chunks of one array, decoded and normalized once, then cut many times."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.streams.kept import Arrays, Kept
from stores.windows import Window

SLAB_BYTES = (
    4 << 20
)  # of float32; one request for several chunks costs little more than for one
SLAB_PX = 256  # least side: tiny chunks are read together

Read = Callable[[int, int, Window], Arrays]
Runs = Sequence[tuple[int, slice, slice]]
"""Stretches of frames inside one slab: its number, where they stand there, and in the cut."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Frames that an array holds, and the edges of its slabs: whole chunks."""

    start: int
    stop: int
    grid: tuple[int, int]
    frames: int
    rows: int
    cols: int

    @classmethod
    def of(
        cls, held: tuple[int, int], grid: tuple[int, int], chunk: tuple[int, int, int]
    ) -> Shape:
        """Choose slabs of whole chunks for frames ``[held)`` of a grid (y, x)."""
        rows, cols = (
            min(edge * -(-SLAB_PX // edge), length)
            for edge, length in zip(chunk[1:], grid, strict=True)
        )
        frames = chunk[0] * max(1, SLAB_BYTES // (chunk[0] * rows * cols * 4))
        return cls(*held, grid, frames, rows, cols)

    def corners(self, window: Window) -> Iterator[tuple[int, int]]:
        """List the slabs that a window touches, by row and column of slabs."""
        for row in range(window.y0 // self.rows, -(-window.y1 // self.rows)):
            for col in range(window.x0 // self.cols, -(-window.x1 // self.cols)):
                yield row, col

    def box(self, row: int, col: int) -> Window:
        """Give the pixels of a slab."""
        y0, x0 = row * self.rows, col * self.cols
        return Window(y0, y0 + self.rows, x0, x0 + self.cols).clip(Window.whole(self.grid))

    def span(self, number: int) -> tuple[int, int]:
        """Give the frames of a slab."""
        first = number * self.frames
        return max(first, self.start), min(first + self.frames, self.stop)

    @property
    def edges(self) -> tuple[int, int]:
        """Rows and columns of a slab [px]."""
        return self.rows, self.cols

    def runs(self, places: Sequence[int]) -> Runs:
        """Cut frames into stretches of neighbors inside one slab."""
        runs: list[tuple[int, slice, slice]] = []
        begin = 0
        for index in range(1, len(places) + 1):
            first, number = places[begin], places[begin] // self.frames
            ends = index == len(places) or places[index] != places[index - 1] + 1
            if ends or places[index] // self.frames != number:
                start = first - self.span(number)[0]
                runs.append((number, slice(start, start + index - begin), slice(begin, index)))
                begin = index
        return runs


class Slabs:
    """One array (t, y, x) - or several of equal shape - that is read slab by slab.

    Args:
        key: what stands for this array among those that are kept.
        shape: its slabs.
        read: gives the arrays of the frames ``[start, stop)`` of a window.
        kept: where slabs stay for the next cut.
    """

    def __init__(self, key: Hashable, shape: Shape, read: Read, kept: Kept) -> None:
        self.shape = shape
        self._key, self._read, self._kept = key, read, kept

    def cut(self, runs: Runs, window: Window, out: Sequence[npt.NDArray[Any]]) -> None:
        """Copy the frames of ``shape.runs`` inside a window into ``out``, each (t, y, x)."""
        for row, col in self.shape.corners(window):
            box = self.shape.box(row, col)
            part = window.clip(box)
            here, there = part.within(box).slices, part.within(window).slices
            for number, frames, given in runs:
                slab = self._slab(number, row, col, box)
                for wanted, held in zip(out, slab, strict=False):  # the rest is not asked for
                    wanted[given, *there] = held[frames, *here]

    def _slab(self, number: int, row: int, col: int, box: Window) -> Arrays:
        start, stop = self.shape.span(number)
        key = (self._key, number, row, col)
        return self._kept.get(key, lambda: self._read(start, stop, box))

    def touched_bytes(
        self, places: Iterable[int], windows: Iterable[Window], pixel_bytes: int
    ) -> int:
        """Say how much all slabs hold that frames of some windows touch [B]."""
        numbers = {place // self.shape.frames for place in places}
        corners = {corner for window in set(windows) for corner in self.shape.corners(window)}
        frames = sum(stop - start for start, stop in map(self.shape.span, numbers))
        pixels = sum(self.shape.box(*corner).size for corner in corners)
        return frames * pixels * pixel_bytes


def fill(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Put 0 where values are invalid, in place, and say where they are valid."""
    valid = np.isfinite(values)
    np.copyto(values, np.float32(0), where=~valid)
    return values, valid
