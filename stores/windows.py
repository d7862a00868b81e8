"""Half-open pixel boxes, y before x."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Half-open box of pixels ``[y0, y1) x [x0, x1)`` on one grid."""

    y0: int
    y1: int
    x0: int
    x1: int

    def __post_init__(self) -> None:
        if self.y1 < self.y0 or self.x1 < self.x0:
            raise ValueError(f"{self} ends before it begins; give y0 <= y1 and x0 <= x1")

    def __str__(self) -> str:
        return f"y[{self.y0}:{self.y1}] x[{self.x0}:{self.x1}]"

    @classmethod
    def from_shape(cls, shape: tuple[int, int]) -> Window:
        """Cover a grid of ``shape`` (y, x)."""
        return cls(0, shape[0], 0, shape[1])

    @classmethod
    def bounding(cls, windows: Collection[Window]) -> Window:
        """Cover some windows, at least one, with the smallest box."""
        return cls(
            min(window.y0 for window in windows),
            max(window.y1 for window in windows),
            min(window.x0 for window in windows),
            max(window.x1 for window in windows),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width [px]."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of this box in an array of the whole grid (y, x)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grow(self, px: int) -> Window:
        """Add ``px`` pixels on every side; the result may leave the grid."""
        return Window(self.y0 - px, self.y1 + px, self.x0 - px, self.x1 + px)

    def clip(self, other: Window) -> Window:
        """Keep the part inside ``other``; disjoint boxes give an empty one."""
        y0 = max(self.y0, other.y0)
        x0 = max(self.x0, other.x0)
        return Window(y0, max(y0, min(self.y1, other.y1)), x0, max(x0, min(self.x1, other.x1)))

    def contains(self, other: Window) -> bool:
        """Return whether ``other`` lies inside."""
        rows = self.y0 <= other.y0 and other.y1 <= self.y1
        return rows and self.x0 <= other.x0 and other.x1 <= self.x1

    def intersects(self, other: Window) -> bool:
        """Return whether the boxes share a pixel."""
        return self.clip(other).size > 0

    def relative_to(self, outer: Window) -> Window:
        """Express this box in the pixel coordinates of ``outer``."""
        if not outer.contains(self):
            raise ValueError(f"{self} does not lie inside {outer}; clip it first")
        return Window(
            self.y0 - outer.y0, self.y1 - outer.y0, self.x0 - outer.x0, self.x1 - outer.x0
        )

    def blocks(self, height: int, width: int) -> Iterator[Window]:
        """Cut this box into blocks, row by row; the last ones may be smaller."""
        for y0 in range(self.y0, self.y1, height):
            for x0 in range(self.x0, self.x1, width):
                yield Window(y0, min(y0 + height, self.y1), x0, min(x0 + width, self.x1))
