import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tiling.patches import PatchConstraint, jitter_patch, plan_patches
from stores.windows import Window


@given(height=st.integers(4, 61), width=st.integers(4, 61), side=st.integers(4, 31))
def test_patches_of_one_shape_cover_every_pixel_of_a_full_domain(
    height: int, width: int, side: int
) -> None:
    covered = np.zeros((height, width), dtype=bool)
    patches = plan_patches(np.ones((height, width), dtype=bool), side=side, min_valid=0.5)
    for patch in patches:
        covered[patch.slices] = True
    assert covered.all()
    assert len({patch.shape for patch in patches}) == 1


def test_patches_over_the_sea_are_left_out() -> None:
    domain = np.zeros((20, 40), dtype=bool)
    domain[:, :10] = True
    patches = plan_patches(domain, side=10, min_valid=0.1)
    assert [patch.x0 for patch in patches] == [0, 0]


def test_a_domain_too_thin_for_its_patches_names_the_best_share() -> None:
    domain = np.zeros((20, 40), dtype=bool)
    domain[0, 0] = True
    with pytest.raises(ValueError, match=r"best has 1\.0%.*lower training\.min_valid"):
        plan_patches(domain, side=10, min_valid=0.5)


def test_an_area_that_is_the_whole_grid_changes_no_patch() -> None:
    domain = np.ones((53, 31), dtype=bool)
    plain = plan_patches(domain, side=10, min_valid=0.5)
    inside = plan_patches(domain, side=10, min_valid=0.5, area=domain)
    assert inside == plain


@given(seed=st.integers(0, 500), side=st.integers(1, 6))
def test_patches_inside_an_area_cover_all_of_it_that_they_can_reach(
    seed: int, side: int
) -> None:
    area = np.random.default_rng(seed).random((23, 17)) < 0.93
    reached, covered = np.zeros_like(area), np.zeros_like(area)
    for y in range(23 - side + 1):
        for x in range(17 - side + 1):
            window = Window(y, y + side, x, x + side)
            if area[window.slices].all():
                reached[window.slices] = True
    if not reached.any():
        return
    domain = np.ones_like(area)
    for patch in plan_patches(domain, side=side, min_valid=0.0, area=area):
        assert area[patch.slices].all()
        covered[patch.slices] = True
    np.testing.assert_array_equal(covered, reached)


@given(
    y=st.integers(0, 20), x=st.integers(0, 30), most=st.integers(0, 40), seed=st.integers(0, 99)
)
def test_a_moved_patch_stays_inside_near_and_valid_enough(
    y: int, x: int, most: int, seed: int
) -> None:
    domain = np.zeros((31, 41), dtype=bool)
    domain[:, 8:] = True
    room = PatchConstraint(domain, 0.6)
    patch = Window(y, y + 11, x, x + 11)
    moved = jitter_patch(patch, room, max_px=most, rng=np.random.default_rng(seed))
    assert moved.shape == patch.shape
    assert max(abs(moved.y0 - patch.y0), abs(moved.x0 - patch.x0)) <= most
    assert moved == patch or room.allows(moved)
    assert Window(0, 31, 0, 41).contains(moved)


def test_patches_move_where_they_may() -> None:
    room, rng = PatchConstraint(np.ones((50, 50), dtype=bool), 1.0), np.random.default_rng(0)
    patch = Window(20, 30, 20, 30)
    moved = {jitter_patch(patch, room, max_px=5, rng=rng) for _ in range(20)}
    assert len(moved) > 10
