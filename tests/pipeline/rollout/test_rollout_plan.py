from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.memory import WorkerPool
from pipeline.models import ConvLSTM, ConvLSTMSpec, Reach
from pipeline.rollout.cost import cached_fields_bytes, flops_per_px, rollout_bytes
from pipeline.rollout.rollout_plan import RolloutPlan, RolloutWorkload, list_plans, plan_rollout
from pipeline.streams.fields import FIELD_CACHE_BYTES
from stores.layout import check_shard_aligned

REACH, NETWORK = Reach(5, 3), ConvLSTMSpec(channels=4, history=3, hidden=(4,))
GB = 10**9
ONE = WorkerPool(1, GB)


def plan(
    shape: tuple[int, int],
    *,
    core: int | None = None,
    block: int | None = 4,
    workers: WorkerPool = ONE,
) -> RolloutPlan:
    rollout = RolloutWorkload(shape, REACH, NETWORK, leads=4)
    return plan_rollout(rollout, workers, core_px=core, block_leads=block)


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
        check_shard_aligned(
            (0, tile.owns.y0, tile.owns.x0),
            (1, tile.owns.y1, tile.owns.x1),
            shape=(1, height, width),
            shard=layout.shard,
            dims=("time", "y", "x"),
        )
        assert all(s % c == 0 for s, c in zip(layout.shard, layout.chunk, strict=True))


@given(leads=st.integers(1, 40), block=st.integers(1, 45))
def test_blocks_hold_every_lead_once_and_in_order(leads: int, block: int) -> None:
    rollout = RolloutWorkload((20, 20), REACH, NETWORK, leads)
    blocks = plan_rollout(rollout, WorkerPool(1, GB), block_leads=block).blocks
    covered = [lead for b in blocks for lead in range(b.first, b.first + b.leads)]
    assert covered == list(range(leads))
    assert max(b.leads for b in blocks) == min(block, leads)


def test_a_shorter_block_has_a_smaller_halo_and_reads_more_often() -> None:
    whole = plan((900, 900), core=128)
    short = plan((900, 900), core=128, block=1)
    assert short.halo_px == REACH.radius(1) < whole.halo_px == REACH.radius(4)
    assert short.redundancy < whole.redundancy
    assert short.read_bytes > whole.read_bytes
    assert short.n_tasks == 4 * whole.n_tasks


def test_one_worker_takes_a_small_grid_as_one_tile_and_two_share_a_large_one() -> None:
    assert len(plan((75, 224)).tiles) == 1
    assert len(plan((900, 900), workers=WorkerPool(2, GB)).tiles) > 1


def test_less_memory_means_smaller_tiles_with_more_redundant_work() -> None:
    roomy = plan((900, 900))
    tight = plan((900, 900), workers=WorkerPool(1, 30 * 10**6))
    assert tight.core_px < roomy.core_px
    assert tight.redundancy > roomy.redundancy
    assert tight.tile_bytes <= 30 * 10**6


def test_a_plan_that_fits_no_worker_is_refused_with_the_memory_that_would_do() -> None:
    with pytest.raises(ValueError, match=r"a tile of 32 px needs.*set compute\.memory_gb=0\.1"):
        plan((900, 900), workers=WorkerPool(1, 10**5))


def test_the_chosen_plan_is_the_fastest_of_those_that_fit() -> None:
    rollout, workers = (
        RolloutWorkload((500, 700), REACH, NETWORK, 12),
        WorkerPool(2, 50 * 10**6),
    )
    listed = list_plans(rollout, workers)
    chosen = plan_rollout(rollout, workers)
    fitting = [other for other in listed if other.tile_bytes <= workers.task_bytes_available]
    assert 1 < len(fitting) < len(listed)
    assert chosen.seconds == min(other.seconds for other in fitting)


def test_memory_grows_with_pixels_history_and_width() -> None:
    base = rollout_bytes(1000, NETWORK, leads=4)
    wider = ConvLSTMSpec(channels=4, history=3, hidden=(8,))
    longer = ConvLSTMSpec(channels=4, history=6, hidden=(4,))
    assert rollout_bytes(2000, NETWORK, leads=4) == 2 * base
    assert rollout_bytes(1000, wider, leads=4) > base
    assert rollout_bytes(1000, longer, leads=4) > base


def test_operations_are_twice_the_weights_that_every_pixel_passes() -> None:
    shape = ConvLSTMSpec(channels=3, history=1, hidden=(5,), head=(2,), norm="none")
    weights = sum(w.numel() for w in ConvLSTM(shape).parameters() if w.ndim > 1)
    assert flops_per_px(shape) == 2 * weights


def test_a_plan_says_tiles_halo_blocks_work_reads_and_memory() -> None:
    said = dict(plan((75, 224), core=64).summary_rows())
    assert said["tiles"] == "8 of 64 px, reading 75 x 92 px"
    assert said["halo"] == "14 px, exact"
    assert said["blocks"] == "1 of 4 leads"
    assert said["redundant work"].endswith(" x")
    assert said["reads"].endswith(" MB")


def test_blended_tiles_are_rolled_and_averaged_in_two_passes() -> None:
    rollout = RolloutWorkload((500, 700), REACH, NETWORK, 12, mode="blend", taper_px=9)
    planned = plan_rollout(rollout, ONE, core_px=64)
    assert planned.halo_px == 9
    assert planned.block_leads == 12
    assert planned.n_tasks == 2 * planned.n_tiles
    assert [planned.tile_index(tile) for tile in planned.tiles] == list(range(planned.n_tiles))
    assert dict(planned.summary_rows())["halo"] == "9 px, blended: approximate"


def test_members_cost_time_and_little_memory() -> None:
    one, eight = (
        plan_rollout(
            RolloutWorkload((500, 700), REACH, NETWORK, 12, members=n),
            ONE,
            core_px=64,
            block_leads=12,
        )
        for n in (1, 8)
    )
    assert eight.seconds > one.seconds
    assert one.tile_bytes < eight.tile_bytes < 4 * one.tile_bytes


def test_a_worker_itself_a_batch_and_its_climatologies_are_part_of_the_memory() -> None:
    plain = RolloutWorkload((500, 700), REACH, NETWORK, 12)
    one = plan_rollout(plain, WorkerPool(1, GB, base_bytes=10**8), core_px=64)
    assert one.memory.n_bytes == one.tile_bytes + 10**8
    batched = replace(plain, batch=4)
    seasonal = replace(plain, n_climatology_maps=24)
    four = plan_rollout(batched, ONE, core_px=64, block_leads=one.block_leads)
    fields = plan_rollout(seasonal, ONE, core_px=64, block_leads=one.block_leads)
    assert four.tile_bytes > 3 * one.tile_bytes
    # 24 maps of every window that is read and written, up to what a process keeps
    n_px = one.read_shape_px[0] * one.read_shape_px[1] + 64**2
    assert fields.tile_bytes - one.tile_bytes == 4 * 24 * n_px * one.n_tiles
    assert plan_rollout(replace(plain, is_scored=True), ONE).tile_bytes > one.tile_bytes


def test_fields_that_are_kept_are_bounded_but_never_less_than_one_tile_needs() -> None:
    assert cached_fields_bytes(1000, 12, n_tiles=2) == 2 * 1000 * 49
    assert cached_fields_bytes(1000, 12, n_tiles=10**6) == FIELD_CACHE_BYTES
    assert cached_fields_bytes(10**7, 12, n_tiles=3) == 10**7 * 49
