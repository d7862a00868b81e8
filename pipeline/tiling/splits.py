"""Spatial splits: blocks or zones that parts share no pixel of, with a gap between them.

What two patches have in common by being near each other must not decide a score, so blocks are
wider than a patch plus the distance over which the target is correlated, and that distance
stays free between the parts: half of it on either side of every border.

Source: Roberts et al. (2017), Ecography 40, doi:10.1111/ecog.02881: block sizes from the range
of autocorrelation. We keep the range free as a gap instead of making blocks twice as wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.tiling.patches import count_in_boxes
from stores.array_types import BoolArray, Float32Array, IntArray

Labels = IntArray
"""A whole number per pixel (y, x): its group, or its part; below zero is none."""


def label_blocks(shape: tuple[int, int], *, side: int) -> Labels:
    """Number the square blocks of a grid (y, x) row by row; the last may be smaller [px]."""
    rows, cols = (np.arange(length) // side for length in shape)
    labels: Labels = rows[:, None] * (-(-shape[1] // side)) + cols[None, :]
    return labels


def label_groups(values: Float32Array, domain: BoolArray) -> Labels:
    """Number the groups of a map of whole numbers (y, x), in their order.

    Pixels of the domain that have none are one group more; others without one have no label.

    Raises:
        ValueError: a number is not whole.
    """
    known = np.isfinite(values)
    if (values[known] % 1).any():
        fractional = float(values[known][values[known] % 1 != 0][0])
        raise ValueError(
            f"the map of groups holds {fractional:g}, which is not whole, so it names no "
            "group; give a map of codes that was never averaged"
        )
    codes, numbers = np.unique(values[known], return_inverse=True)
    labels = np.full(values.shape, -1, dtype=np.int64)
    labels[known] = numbers
    labels[domain & ~known] = len(codes)
    return labels


def group_sizes(groups: Labels, domain: BoolArray) -> dict[int, int]:
    """Count the domain's pixels (y, x) of every group (y, x) that has one."""
    inside = groups[domain & (groups >= 0)]
    names, sizes = np.unique(inside, return_counts=True)
    return dict(zip(names.tolist(), sizes.tolist(), strict=True))


def assign_parts(
    sizes: Mapping[int, int], fractions: Sequence[float], *, seed: int
) -> dict[int, int]:
    """Assign every group to one part, so that parts get about their fractions of the pixels.

    Groups come in a random order; each goes to the part that lacks most of its fraction. Every
    part gets a group.

    Raises:
        ValueError: there are more parts than groups.
    """
    if len(sizes) < len(fractions):
        raise ValueError(
            f"{len(sizes)} groups cannot fill {len(fractions)} parts, so a part would be "
            "empty; make blocks smaller, take a map of more groups, or ask for fewer folds"
        )
    rng = np.random.default_rng(seed)
    order = [list(sizes)[index] for index in rng.permutation(len(sizes))]
    total = sum(sizes.values())
    assigned = np.zeros(len(fractions))
    targets = np.asarray(fractions, dtype=float) / sum(fractions)
    parts: dict[int, int] = {}
    for n_done, group in enumerate(order):
        deficit = targets - assigned / total
        empty = assigned == 0
        if len(order) - n_done <= empty.sum():  # the last ones are for parts without any
            deficit[~empty] = -np.inf
        part = int(deficit.argmax())
        assigned[part] += sizes[group]
        parts[group] = part
    return parts


def assign_folds(sizes: Mapping[int, int], n_folds: int, *, seed: int) -> dict[int, int]:
    """Assign every group to one of ``n_folds`` folds of about equal size."""
    return assign_parts(sizes, [1.0] * n_folds, seed=seed)


@dataclass(frozen=True, slots=True)
class SplitAssignment:
    """How groups become parts: 0 is learned from, 1 validates, 2 tests."""

    fractions: tuple[float, float, float]
    """Fractions of the domain's pixels."""
    seed: int = 0
    n_folds: int | None = None
    """Folds to which all groups but those of the test are assigned."""
    fold: int = 0
    """The fold that validates."""

    def assign(self, sizes: Mapping[int, int]) -> dict[int, int]:
        """Assign every group its part; the groups of the test are the same for every fold.

        Raises:
            ValueError: there are fewer groups than parts or folds.
        """
        if self.n_folds is None:
            return assign_parts(sizes, self.fractions, seed=self.seed)
        train, validation, test = self.fractions
        parts = assign_parts(sizes, (train + validation, test), seed=self.seed)
        rest = {group: size for group, size in sizes.items() if parts[group] == 0}
        folds = assign_folds(rest, self.n_folds, seed=self.seed)
        left_out = {group: int(folds[group] == self.fold) for group in rest}
        return dict.fromkeys(parts, 2) | left_out


def label_parts(groups: Labels, parts: Mapping[int, int]) -> Labels:
    """Assign every pixel the part of its group (y, x).

    Pixels whose group has no part, or that have no group, take the part that is nearest along
    rows and columns: they count nowhere, but patches may hold them.
    """
    part_of_group = np.full(
        int(groups.max()) + 2, -1, dtype=np.int64
    )  # the last one is for none
    part_of_group[list(parts)] = list(parts.values())
    labels: Labels = part_of_group[np.maximum(groups, -1)]
    missing = labels < 0
    if missing.any():
        numbers = np.array(sorted(set(parts.values())))
        distances = np.stack([_cityblock_distance(labels == part)[missing] for part in numbers])
        labels[missing] = numbers[distances.argmin(axis=0)]
    return labels


def part_area(labels: Labels, part: int, *, border: int) -> BoolArray:
    """Mark what is farther than ``border`` px from the pixels of all other parts (y, x).

    Patches of a part lie there; those of two parts are ``2 * border`` px apart or more.
    """
    return ~_dilate(labels != part, border)


def _dilate(marked: BoolArray, px: int) -> BoolArray:
    """Mark everything within ``px`` of what is marked, diagonals included."""
    around = np.pad(marked, px)
    return count_in_boxes(around, (2 * px + 1, 2 * px + 1)) > 0


def _cityblock_distance(marked: BoolArray) -> npt.NDArray[np.int32]:
    """Count the steps along rows and columns to the nearest marked pixel (y, x)."""
    steps = np.where(marked, 0, sum(marked.shape)).astype(np.int32)
    for axis in (1, 0):
        offset = np.expand_dims(np.arange(marked.shape[axis], dtype=np.int32), 1 - axis)
        before = np.minimum.accumulate(steps - offset, axis=axis) + offset
        after = np.flip(np.minimum.accumulate(np.flip(steps + offset, axis), axis=axis), axis)
        steps = np.minimum(before, after - offset)
    return steps
