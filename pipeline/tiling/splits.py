"""Splits by place: blocks or zones that parts share no pixel of, with a gap between them.

What two patches have in common by being near each other must not decide a score, so blocks are
wider than a patch plus the distance over which the target is correlated, and that distance
stays free between the patches of different parts.

Source: Roberts et al. (2017), Ecography 40, doi:10.1111/ecog.02881: block sizes from the range
of autocorrelation. We keep the range free as a gap instead of making blocks twice as wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.tiling.patches import Area, box_counts

Labels = npt.NDArray[np.int64]
"""A whole number per pixel (y, x): its group, or its part; below zero is none."""


def label_blocks(shape: tuple[int, int], *, side: int, patch: int, gap: int) -> Labels:
    """Number the square blocks of a grid row by row; the last ones may be smaller [px].

    Raises:
        ValueError: a block has no room for a patch beside its gap.
    """
    if side < patch + gap:
        raise ValueError(
            f"blocks of {side} px are narrower than a patch of {patch} px and {gap} px to the "
            f"next part, so no patch would fit into a block; make blocks {patch + gap} px or "
            "wider"
        )
    rows, cols = (np.arange(length) // side for length in shape)
    labels: Labels = rows[:, None] * (-(-shape[1] // side)) + cols[None, :]
    return labels


def group_sizes(groups: Labels, domain: Area) -> dict[int, int]:
    """Count the domain's pixels of every group that has one."""
    inside = groups[domain & (groups >= 0)]
    names, sizes = np.unique(inside, return_counts=True)
    return dict(zip(names.tolist(), sizes.tolist(), strict=True))


def assign_parts(
    sizes: Mapping[int, int], shares: Sequence[float], *, seed: int
) -> dict[int, int]:
    """Give every group to one part, so that parts get about their shares of the pixels.

    Groups come in a random order; each goes to the part that lacks most of its share. Every
    part gets a group.

    Raises:
        ValueError: there are more parts than groups.
    """
    if len(sizes) < len(shares):
        raise ValueError(
            f"{len(sizes)} groups cannot fill {len(shares)} parts, so a part would be empty; "
            "make blocks smaller, or ask for fewer parts"
        )
    rng = np.random.default_rng(seed)
    order = [list(sizes)[index] for index in rng.permutation(len(sizes))]
    whole, given = sum(sizes.values()), np.zeros(len(shares))
    wanted = np.asarray(shares, dtype=float) / sum(shares)
    parts: dict[int, int] = {}
    for n_done, group in enumerate(order):
        lacking = wanted - given / whole
        empty = given == 0
        if len(order) - n_done <= empty.sum():  # the last ones are for parts without any
            lacking[~empty] = -np.inf
        part = int(lacking.argmax())
        given[part] += sizes[group]
        parts[group] = part
    return parts


def assign_folds(sizes: Mapping[int, int], n_folds: int, *, seed: int) -> dict[int, int]:
    """Give every group to one of ``n_folds`` folds of about equal size."""
    return assign_parts(sizes, [1.0] * n_folds, seed=seed)


def label_parts(groups: Labels, parts: Mapping[int, int]) -> Labels:
    """Give every pixel the part of its group; pixels of other groups are in no part."""
    known = np.full(int(groups.max()) + 2, -1, dtype=np.int64)  # the last one is for none
    known[list(parts)] = list(parts.values())
    labels: Labels = known[np.maximum(groups, -1)]
    return labels


def part_area(labels: Labels, part: int, *, gap: int) -> Area:
    """Mark where patches of a part may stand (y, x): ``gap`` px from those of all others.

    Pixels of no part may lie in patches of any part; where there are some the whole gap is
    kept from the pixels of other parts, else half of it on either side of a border.
    """
    foreign = (labels >= 0) & (labels != part)
    return ~_grown(foreign, gap if (labels < 0).any() else -(-gap // 2))


def fold_areas(labels: Labels, fold: int, *, gap: int) -> tuple[Area, Area]:
    """Mark where patches may stand that are learned from, and those of the fold left out."""
    parts = np.where(labels < 0, labels, labels == fold)
    return part_area(parts, 0, gap=gap), part_area(parts, 1, gap=gap)


def _grown(marked: Area, px: int) -> Area:
    """Mark everything within ``px`` of what is marked, diagonals included."""
    around = np.pad(marked, px)
    return box_counts(around, (2 * px + 1, 2 * px + 1)) > 0
