import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tiling.patches import plan_patches


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
