import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.streams.patch_plan import PatchPlan
from pipeline.streams.samples import Sample
from pipeline.streams.sampling_weights import stratified_weights
from pipeline.tiling.patches import PatchConstraint
from stores.times import Step, parse_time
from stores.windows import Window

MONTH = Step.parse("month")


def samples(n: int, *, side: int = 8) -> tuple[Sample, ...]:
    start = parse_time("2001-01")
    columns = [Window(0, side, x, x + side) for x in range(0, 4 * side, side)]
    return tuple(Sample(MONTH.add(start, i // 4), columns[i % 4]) for i in range(n))


def test_an_epoch_is_the_seeded_permutation_that_published_numbers_come_from() -> None:
    every = samples(24)
    order = np.random.default_rng([5, 2]).permutation(np.arange(24))[:10]
    assert PatchPlan(every, 5, 10).sample_epoch(2) == [every[index] for index in order]


def test_without_a_seed_samples_keep_their_order() -> None:
    assert PatchPlan(samples(9)).sample_epoch(3) == list(samples(9))


@given(
    chances=st.lists(st.floats(0.01, 50), min_size=2, max_size=40),
    per_epoch=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_samples_come_as_often_as_their_chances_say(
    chances: list[float], per_epoch: int, seed: int
) -> None:
    every, given_ = samples(len(chances)), np.array(chances)
    plan = PatchPlan(every, seed, per_epoch, weights=given_)
    drawn = plan.sample_epoch(1)
    assert len(drawn) == plan.n_drawn == min(per_epoch, len(every))
    expected = given_ / given_.sum() * plan.n_drawn
    counts = np.array([drawn.count(sample) for sample in every])
    assert (np.abs(counts - expected) < 1 + 1e-6).all()
    assert plan.sample_epoch(1) == drawn


def test_moves_differ_between_epochs_and_stay_in_what_is_read() -> None:
    room = PatchConstraint(np.ones((20, 40), dtype=bool), 1.0)
    plan = PatchPlan(samples(16), 3, jitter_px=5, constraint=room)
    first, second = plan.sample_epoch(0), plan.sample_epoch(1)
    windows = {sample.window for sample in samples(16)}
    assert len({sample.window for sample in first} - windows) > 4
    assert set(first) != set(second)
    for sample in (*first, *second):
        around = [read.window for read in plan.read_windows if read.init == sample.init]
        assert any(window.contains(sample.window) for window in around)
    assert plan.sample_epoch(0) == first


def test_a_plan_prints_how_many_patches_it_has_and_where_the_first_lie() -> None:
    plan = PatchPlan(samples(24), 5, 10, cube_version="abc", step=Step.parse("month"))
    lines = plan.describe(2, n_rows=3).splitlines()
    first = plan.sample_epoch(2)[0]
    assert "epoch 3 of cube abc, seed 5: 10 patches (10 different) of 24" in lines[0]
    assert lines[2].startswith(f"{str(first.init)[:7]} ")
    assert f"{first.window.x0}:{first.window.x1}" in lines[2]
    assert lines[-1] == "and 7 more"
    assert len(lines) == 6


def test_strata_are_drawn_equally_often_however_rare_they_are() -> None:
    means = np.random.default_rng(0).exponential(size=4000)
    chances = stratified_weights(means)
    edges = np.quantile(means, [0, 0.5, 0.8, 0.95])
    stratum = np.searchsorted(edges, means, side="right")
    shares = np.bincount(stratum, weights=chances)[1:]
    np.testing.assert_allclose(shares / shares.sum(), 0.25)
    plan = PatchPlan(samples(4000), 0, 400, weights=chances)
    drawn = {sample.init for sample in plan.sample_epoch(0)}
    assert len(drawn) > 100


def test_samples_that_are_all_alike_are_drawn_alike() -> None:
    assert len(set(stratified_weights(np.zeros(9)))) == 1
