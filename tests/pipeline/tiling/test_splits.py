import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.tiling.patches import Room, jitter_patch, plan_patches
from pipeline.tiling.splits import (
    Labels,
    assign_folds,
    assign_parts,
    fold_areas,
    group_sizes,
    label_blocks,
    label_parts,
    part_area,
)
from stores.windows import Window

SHARES = (0.6, 0.2, 0.2)


def cut(labels: Labels, part: int, *, side: int, gap: int) -> list[Window]:
    area = part_area(labels, part, gap=gap)
    try:
        return plan_patches(labels == part, side=side, min_valid=0.0, area=area)
    except ValueError:
        return []  # a part whose blocks lie among others may have no room


def distance(one: Window, other: Window) -> int:
    """Free pixels between two windows; below zero where they share some."""
    rows = max(one.y0, other.y0) - min(one.y1, other.y1)
    cols = max(one.x0, other.x0) - min(one.x1, other.x1)
    return max(rows, cols)


@given(
    height=st.integers(11, 61),
    width=st.integers(11, 61),
    patch=st.integers(3, 9),
    gap=st.integers(0, 5),
    more=st.integers(0, 4),
    seed=st.integers(0, 50),
)
def test_patches_of_two_parts_share_no_pixel_and_keep_the_gap(
    height: int, width: int, patch: int, gap: int, more: int, seed: int
) -> None:
    groups = label_blocks((height, width), side=patch + gap + more, patch=patch, gap=gap)
    sizes = group_sizes(groups, np.ones((height, width), dtype=bool))
    assume(len(sizes) >= len(SHARES))
    labels = label_parts(groups, assign_parts(sizes, SHARES, seed=seed))
    parts = [cut(labels, part, side=patch, gap=gap) for part in range(len(SHARES))]
    assume(sum(map(bool, parts)) > 1)
    rng = np.random.default_rng(seed)
    for part, windows in enumerate(parts):
        room = Room(labels == part, 0.0, part_area(labels, part, gap=gap))
        moved = [jitter_patch(w, room, most_px=patch, rng=rng) for w in windows]
        for other in (w for number, ws in enumerate(parts) if number != part for w in ws):
            assert all(distance(window, other) >= gap for window in (*windows, *moved))


def test_a_block_of_the_least_width_holds_a_patch_between_foreign_ones() -> None:
    groups = label_blocks((30, 30), side=10, patch=6, gap=4)
    labels = np.where(groups == 4, 0, 1)
    assert cut(labels, 0, side=6, gap=4) == [Window(12, 18, 12, 18)]


def test_blocks_without_room_for_a_patch_and_the_gap_are_refused() -> None:
    with pytest.raises(ValueError, match="make blocks 12 px or wider"):
        label_blocks((40, 40), side=11, patch=8, gap=4)


@given(
    sizes=st.dictionaries(st.integers(0, 99), st.integers(1, 50), min_size=5, max_size=40),
    n_folds=st.integers(2, 5),
    seed=st.integers(0, 50),
)
def test_every_group_lies_in_one_fold_and_no_fold_is_empty(
    sizes: dict[int, int], n_folds: int, seed: int
) -> None:
    folds = assign_folds(sizes, n_folds, seed=seed)
    assert set(folds) == set(sizes)
    assert set(folds.values()) == set(range(n_folds))
    assert folds == assign_folds(sizes, n_folds, seed=seed)


def test_parts_get_about_their_shares_of_the_pixels() -> None:
    sizes = dict.fromkeys(range(100), 7)
    parts = assign_parts(sizes, SHARES, seed=4)
    counts = np.bincount(list(parts.values()))
    np.testing.assert_allclose(counts, [60, 20, 20], atol=1)
    assert parts != assign_parts(sizes, SHARES, seed=5)


def test_more_parts_than_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="2 groups cannot fill 3 parts"):
        assign_parts({1: 4, 2: 4}, SHARES, seed=0)


@given(seed=st.integers(0, 200), gap=st.integers(0, 4), side=st.integers(2, 6))
def test_patches_of_zones_hold_nothing_of_other_zones_within_the_gap(
    seed: int, gap: int, side: int
) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 40, (6, 2))
    ys, xs = np.mgrid[:40, :40]
    far = (ys[..., None] - corners[:, 0]) ** 2 + (xs[..., None] - corners[:, 1]) ** 2
    zones = np.where(far.min(axis=-1) < 250, far.argmin(axis=-1), -1)  # the rest is sea
    zones[0, 0] = -1  # always some: without any, each side keeps half the gap
    folds = assign_folds(group_sizes(zones, zones >= 0), 2, seed=seed)
    labels = label_parts(zones, folds)
    for part in (0, 1):
        for window in cut(labels, part, side=side, gap=gap):
            around = labels[window.grow(gap).clip(Window(0, 40, 0, 40)).slices]
            assert not (around == 1 - part).any()


def test_folds_take_turns_and_what_is_learned_from_is_the_rest() -> None:
    groups = label_blocks((60, 60), side=20, patch=8, gap=4)
    sizes = group_sizes(groups, np.ones((60, 60), dtype=bool))
    labels = label_parts(groups, assign_folds(sizes, 3, seed=1))
    left_out = np.zeros((60, 60), dtype=int)
    for fold in range(3):
        train, validation = fold_areas(labels, fold, gap=4)
        assert not (train & validation).any()
        assert not train[labels == fold].any()
        assert validation[labels == fold].any()
        left_out += labels == fold
    assert (left_out == 1).all()


def test_pixels_of_groups_without_a_part_are_in_none() -> None:
    groups = np.array([[0, 1, 2], [-1, -1, 1]])
    labels = label_parts(groups, {0: 1, 1: 0})
    assert labels.tolist() == [[1, 0, -1], [-1, -1, 0]]
