import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models import ConvLSTMShape, Reach
from pipeline.rollout.plan import RolloutPlan, plan_rollout, rollout_bytes
from stores.layout import check_owned

REACH, NETWORK = Reach(5, 3), ConvLSTMShape(channels=4, history=3, hidden=(4,))
GB = 10**9


def plan(
    shape: tuple[int, int], *, core: int | None = None, worker: tuple[int, int] = (1, GB)
) -> RolloutPlan:
    return plan_rollout(shape, REACH, NETWORK, leads=4, core_px=core, worker=worker)


@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    core=st.sampled_from([7, 32, 96, 600]),
)
def test_what_a_tile_owns_is_whole_shards_of_the_forecast(
    height: int, width: int, core: int
) -> None:
    planned = plan((height, width), core=core)
    layout = planned.layout
    for tile in planned.tiles:
        check_owned(
            (0, tile.owns.y0, tile.owns.x0),
            (1, tile.owns.y1, tile.owns.x1),
            shape=(1, height, width),
            shard=layout.shard,
            dims=("time", "y", "x"),
        )
        assert all(s % c == 0 for s, c in zip(layout.shard, layout.chunk, strict=True))


def test_one_worker_takes_a_small_grid_as_one_tile_and_two_share_it() -> None:
    assert len(plan((75, 224)).tiles) == 1
    assert len(plan((75, 224), worker=(2, GB)).tiles) > 1


def test_less_memory_means_smaller_tiles_with_more_redundant_work() -> None:
    roomy, tight = plan((900, 900)), plan((900, 900), worker=(1, 30 * 10**6))
    assert tight.core_px < roomy.core_px
    assert tight.redundancy > roomy.redundancy
    assert tight.tile_bytes <= 30 * 10**6


def test_a_plan_that_fits_no_worker_is_refused_with_the_memory_that_would_do() -> None:
    with pytest.raises(ValueError, match=r"set compute\.memory_gb=0\.1 or use fewer workers"):
        plan((900, 900), worker=(1, 10**5))


def test_memory_grows_with_pixels_history_and_width() -> None:
    base = rollout_bytes(1000, NETWORK, leads=4)
    wider = ConvLSTMShape(channels=4, history=3, hidden=(8,))
    longer = ConvLSTMShape(channels=4, history=6, hidden=(4,))
    assert rollout_bytes(2000, NETWORK, leads=4) == 2 * base
    assert rollout_bytes(1000, wider, leads=4) > base
    assert rollout_bytes(1000, longer, leads=4) > base


def test_a_plan_says_tiles_halo_work_and_memory() -> None:
    said = dict(plan((75, 224), core=64).rows())
    assert said["tiles"] == "8 of 64 px, reading 75 x 92 px"
    assert said["halo"] == "14 px, exact"
    assert said["redundant work"].endswith(" x")
