"""Patches: the windows that training cuts out of a grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stores.array_types import BoolArray, IntArray
from stores.windows import Window

_TRIES = 8  # of a move; where none is allowed the patch stays


@dataclass(frozen=True, eq=False)
class PatchConstraint:
    """Where patches may lie: enough of the domain (y, x), nothing outside the area (y, x).

    The area is that of one part of a split; None is the whole grid.
    """

    domain: BoolArray
    min_valid: float
    area: BoolArray | None = None

    def valid_fraction(self, window: Window) -> float:
        """Compute the fraction of a window's pixels that lie in the domain."""
        return float(self.domain[window.slices].mean())

    def allows(self, window: Window) -> bool:
        """Whether a patch may lie here; empty ones never may."""
        inside = Window.from_shape((self.domain.shape[0], self.domain.shape[1])).contains(
            window
        )
        if not inside or (self.area is not None and not self.area[window.slices].all()):
            return False
        return self.valid_fraction(window) >= max(self.min_valid, 1e-12)


def plan_patches(
    domain: BoolArray, *, side: int, min_valid: float, area: BoolArray | None = None
) -> list[Window]:
    """Cover the domain (y, x) with square patches of one shape, row by row [px].

    Patches lie edge to edge; the last ones are shifted inward. Those with a smaller fraction of
    domain pixels than ``min_valid`` are left out, and so are empty ones. With an ``area`` they
    cover every pixel of it that a patch inside the area can reach.

    Raises:
        ValueError: no patch holds enough of the domain.
    """
    height, width = (min(side, length) for length in domain.shape)
    patches = list(_cover(domain.shape, (height, width), area))
    if not patches:
        raise ValueError(
            f"no patch of {height} x {width} px fits into the area, so there is nothing to "
            "learn from; lower training.patch_px or the distance between parts, or deal larger "
            "blocks or groups"
        )
    fractions = [float(domain[patch.slices].mean()) for patch in patches]
    valid_patches = [
        patch
        for patch, fraction in zip(patches, fractions, strict=True)
        if fraction >= max(min_valid, 1e-12)
    ]
    if not valid_patches:
        raise ValueError(
            f"no patch of {height} x {width} px has {min_valid:.0%} of its pixels in the "
            f"domain (the best has {max(fractions):.1%}), so there is nothing to learn "
            "from; lower training.min_valid or training.patch_px"
        )
    return valid_patches


def jitter_patch(
    patch: Window, constraint: PatchConstraint, *, max_px: int, rng: np.random.Generator
) -> Window:
    """Move a patch by up to ``max_px`` along both axes, to where it may lie [px]."""
    height, width = patch.shape
    rows, cols = constraint.domain.shape
    for _ in range(_TRIES):
        dy, dx = rng.integers(-max_px, max_px, size=2, endpoint=True)
        y0 = min(max(0, patch.y0 + int(dy)), rows - height)
        x0 = min(max(0, patch.x0 + int(dx)), cols - width)
        moved = Window(y0, y0 + height, x0, x0 + width)
        if constraint.allows(moved):
            return moved
    return patch


def count_in_boxes(marked: BoolArray, shape: tuple[int, int]) -> IntArray:
    """Count marked pixels (y, x) in every box of ``shape``, by its first pixel (y, x)."""
    sums = np.zeros((marked.shape[0] + 1, marked.shape[1] + 1), dtype=np.int64)
    sums[1:, 1:] = marked.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    height, width = shape
    counts: IntArray = (
        sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width]
    ) + sums[:-height, :-width]
    return counts


def _cover(
    grid: tuple[int, ...], shape: tuple[int, int], area: BoolArray | None
) -> Iterator[Window]:
    if area is None:
        for y in _starts(grid[0], shape[0]):
            for x in _starts(grid[1], shape[1]):
                yield Window(y, y + shape[0], x, x + shape[1])
        return
    allowed = count_in_boxes(area, shape) == shape[0] * shape[1]
    missing = _reached(allowed, shape)
    for y in range(grid[0]):
        while missing[y].any():
            x = int(missing[y].argmax())
            # Everything above is covered, so the lowest and rightmost patch covers most.
            y0 = max(0, y - shape[0] + 1)
            x0 = max(0, x - shape[1] + 1)
            ys, xs = np.nonzero(allowed[y0 : y + 1, x0 : x + 1])
            top = y0 + int(ys[-1])
            left = x0 + int(xs[-1])
            patch = Window(top, top + shape[0], left, left + shape[1])
            missing[patch.slices] = False
            yield patch


def _reached(allowed: BoolArray, shape: tuple[int, int]) -> BoolArray:
    """Mark the pixels that some allowed patch covers, by the first pixels of patches (y, x)."""
    around = np.pad(allowed, [(length - 1, length - 1) for length in shape])
    return count_in_boxes(around, shape) > 0


def _starts(length: int, side: int) -> list[int]:
    """List the first pixel of each patch along one axis."""
    return sorted({min(start, length - side) for start in range(0, length, side)})
