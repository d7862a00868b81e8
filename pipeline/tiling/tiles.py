"""Cut a grid into tiles that read exactly as far as the reach of the model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from stores.windows import Window


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """One unit of inference: compute on ``reads``, keep ``owns``."""

    owns: Window
    reads: Window

    @property
    def crop(self) -> Window:
        """The owned pixels in the coordinates of what is read."""
        return self.owns.relative_to(self.reads)


class AxisSpan(NamedTuple):
    """What a tile owns and reads along one axis [px]."""

    owns0: int
    owns1: int
    reads0: int
    reads1: int


def plan_tiles(shape: tuple[int, int], *, core: int, halo: int, stride: int = 1) -> list[Tile]:
    """Cut a grid of ``shape`` (y, x) into tiles, row by row [px].

    Together the tiles own every pixel exactly once. All read windows have one shape, so that
    every tile takes the same path through the network's kernels. At the border windows are
    shifted inward rather than cut, which puts the network's own zero padding where it is in
    the untiled forecast: on the border of the grid. Origins are multiples of ``stride``.
    """
    if core <= 0 or halo < 0 or stride <= 0:
        raise ValueError(
            f"core and stride must be > 0, halo >= 0, but got {core=}, {halo=}, {stride=}"
        )
    rows = list(_spans(shape[0], core=core, halo=halo, stride=stride))
    cols = list(_spans(shape[1], core=core, halo=halo, stride=stride))
    return [
        Tile(
            owns=Window(y.owns0, y.owns1, x.owns0, x.owns1),
            reads=Window(y.reads0, y.reads1, x.reads0, x.reads1),
        )
        for y, x in product(rows, cols)
    ]


def _spans(length: int, *, core: int, halo: int, stride: int) -> Iterator[AxisSpan]:
    """Yield what each tile owns and reads along one axis."""
    size = _size(length, core=core, halo=halo, stride=stride)
    for start in range(0, length, core):
        first = max(0, start - halo)
        origin = min(first - first % stride, length - size)
        yield AxisSpan(start, min(start + core, length), origin, origin + size)


def tile_read_shape(
    shape: tuple[int, int], *, core: int, halo: int, stride: int = 1
) -> tuple[int, int]:
    """Compute the one shape (y, x) of the windows that ``plan_tiles`` reads [px]."""
    height, width = (_size(side, core=core, halo=halo, stride=stride) for side in shape)
    return height, width


def count_tiles(shape: tuple[int, int], *, core: int) -> int:
    """Count the tiles that ``plan_tiles`` makes."""
    return math.ceil(shape[0] / core) * math.ceil(shape[1] / core)


def _size(length: int, *, core: int, halo: int, stride: int) -> int:
    """Compute the length of the read windows along one axis."""
    # Up to stride - 1 pixels are lost when an origin moves down to a multiple of the stride.
    # The last window ends on the border, so sizes equal the length modulo the stride.
    needed = core + 2 * halo + stride - 1
    return min(length, needed + (length - needed) % stride)
