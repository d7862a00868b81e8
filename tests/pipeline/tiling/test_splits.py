import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.tiling.patches import PatchConstraint, jitter_patch, plan_patches
from pipeline.tiling.splits import (
    Labels,
    SplitAssignment,
    assign_folds,
    assign_parts,
    group_sizes,
    label_blocks,
    label_groups,
    label_parts,
    part_area,
)
from stores.windows import Window

SHARES = (0.6, 0.2, 0.2)


def cut(labels: Labels, part: int, *, side: int, border: int) -> list[Window]:
    area = part_area(labels, part, border=border)
    try:
        return plan_patches(labels == part, side=side, min_valid=0.0, area=area)
    except ValueError:
        return []  # a part whose blocks lie among others may have no room


def distance(one: Window, other: Window) -> int:
    """Free pixels between two windows; below zero where they share some."""
    rows = max(one.y0, other.y0) - min(one.y1, other.y1)
    cols = max(one.x0, other.x0) - min(one.x1, other.x1)
    return max(rows, cols)


def make_zones(seed: int, side: int = 40) -> Labels:
    """Draw six zones of any shape in a sea."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, side, (6, 2))
    ys, xs = np.mgrid[:side, :side]
    far = (ys[..., None] - corners[:, 0]) ** 2 + (xs[..., None] - corners[:, 1]) ** 2
    zones = np.where(far.min(axis=-1) < 100, far.argmin(axis=-1), -1)
    zones[0, 0] = -1  # always some sea
    return zones


@given(
    height=st.integers(11, 61),
    width=st.integers(11, 61),
    patch=st.integers(3, 9),
    border=st.integers(0, 3),
    more=st.integers(0, 4),
    seed=st.integers(0, 50),
)
def test_patches_of_two_parts_share_no_pixel_and_keep_the_gap(
    height: int, width: int, patch: int, border: int, more: int, seed: int
) -> None:
    groups = label_blocks((height, width), side=patch + 2 * border + more)
    sizes = group_sizes(groups, np.ones((height, width), dtype=bool))
    assume(len(sizes) >= len(SHARES))
    labels = label_parts(groups, assign_parts(sizes, SHARES, seed=seed))
    parts = [cut(labels, part, side=patch, border=border) for part in range(len(SHARES))]
    assume(sum(map(bool, parts)) > 1)
    rng = np.random.default_rng(seed)
    for part, windows in enumerate(parts):
        room = PatchConstraint(labels == part, 0.0, part_area(labels, part, border=border))
        moved = [jitter_patch(w, room, max_px=patch, rng=rng) for w in windows]
        for other in (w for number, ws in enumerate(parts) if number != part for w in ws):
            assert all(distance(window, other) >= 2 * border for window in (*windows, *moved))


def test_a_block_of_the_least_width_holds_a_patch_between_foreign_ones() -> None:
    groups = label_blocks((30, 30), side=10)
    labels = np.where(groups == 4, 0, 1)
    assert cut(labels, 0, side=6, border=2) == [Window(12, 18, 12, 18)]
    assert cut(labels, 0, side=7, border=2) == []


@given(seed=st.integers(0, 200), border=st.integers(0, 3))
def test_pixels_of_two_areas_are_twice_the_border_apart_whatever_the_zones(
    seed: int, border: int
) -> None:
    zones = make_zones(seed)
    sizes = group_sizes(zones, zones >= 0)
    assume(len(sizes) >= len(SHARES))
    labels = label_parts(zones, assign_parts(sizes, SHARES, seed=seed))
    areas = [part_area(labels, part, border=border) for part in range(len(SHARES))]
    places = [np.argwhere(area) for area in areas if area.any()]
    for number, one in enumerate(places):
        for other in places[number + 1 :]:
            apart = np.abs(one[:, None] - other[None]).max(axis=-1)
            assert apart.min() > 2 * border


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


@given(seed=st.integers(0, 50), n_folds=st.integers(2, 5))
def test_every_group_validates_once_and_the_test_is_that_of_every_fold(
    seed: int, n_folds: int
) -> None:
    sizes = {group: 3 + group % 4 for group in range(12)}
    dealt = [
        SplitAssignment(SHARES, seed, n_folds, fold).assign(sizes) for fold in range(n_folds)
    ]
    for group in sizes:
        parts = [parts[group] for parts in dealt]
        assert parts == [2] * n_folds or sorted(parts) == [0] * (n_folds - 1) + [1]
    assert {2, 1, 0} == set(dealt[0].values())


def test_without_folds_every_part_gets_its_share() -> None:
    sizes = dict.fromkeys(range(50), 2)
    assert SplitAssignment(SHARES, seed=3).assign(sizes) == assign_parts(sizes, SHARES, seed=3)


def test_pixels_without_a_part_take_the_nearest_along_rows_and_columns() -> None:
    groups = np.array(
        [
            [0, -1, -1, -1, 1],
            [-1, -1, -1, -1, -1],
            [-1, -1, 7, -1, -1],
            [2, -1, -1, -1, -1],
        ]
    )
    labels = label_parts(groups, {0: 1, 1: 0, 2: 2})  # 7 has no part
    assert labels.tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [2, 2, 2, 0, 0],
        [2, 2, 2, 2, 0],
    ]


@given(seed=st.integers(0, 100))
def test_the_nearest_part_is_that_of_a_search_over_all_pixels(seed: int) -> None:
    zones = make_zones(seed, side=17)
    names = sorted(set(zones[zones >= 0].tolist()))
    labels = label_parts(zones, {name: place for place, name in enumerate(names)})
    known = np.argwhere(zones >= 0)
    for y, x in np.argwhere(zones < 0):
        steps = np.abs(known - (y, x)).sum(axis=1)
        nearest = {names.index(zones[tuple(place)]) for place in known[steps == steps.min()]}
        assert labels[y, x] in nearest


def test_groups_are_numbered_and_the_domain_without_one_is_a_group() -> None:
    values = np.array([[31, 31, np.nan], [-7, np.nan, np.nan]], dtype=np.float32)
    domain = np.array([[True, False, True], [True, True, False]])
    assert label_groups(values, domain).tolist() == [[1, 1, 2], [0, 2, -1]]


def test_a_map_of_groups_that_was_averaged_is_refused() -> None:
    values = np.array([[1, 2.5]], dtype=np.float32)
    with pytest.raises(ValueError, match=r"holds 2\.5, which is not whole"):
        label_groups(values, np.ones((1, 2), dtype=bool))
