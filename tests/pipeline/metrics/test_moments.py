from functools import reduce
from itertools import product
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics import Moments, SeasonalSums
from stores.array_types import AnyArray
from stores.seasons import Seasons
from stores.times import Step, parse_time

MONTHS = Seasons(Step.parse("month"), 12, 1, tuple(range(12)))

Array = AnyArray
seeds = st.integers(0, 10_000)


def split(values: Array, seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, len(values) + 1, rng.integers(1, 6)))
    pieces = np.split(values, cuts)
    rng.shuffle(pieces)
    return pieces


@settings(max_examples=60, deadline=None)
@given(seed=seeds, n=st.integers(1, 97), center=st.sampled_from([0.0, 400.0, -3e4]))
def test_moments_of_pieces_in_any_order_equal_those_of_the_whole(
    seed: int, n: int, center: float
) -> None:
    values = np.random.default_rng(seed).normal(center, 0.05, n).astype(np.float32)
    values[::7] = np.nan
    pieces = split(values, seed)
    assert len(pieces) > 1
    merged = reduce(add, (Moments.of(piece) for piece in pieces), Moments.zero())
    kept = values[np.isfinite(values)].astype(np.float64)
    assert merged.count == len(kept)
    if len(kept):
        np.testing.assert_allclose(merged.mean, kept.mean(), rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(merged.std, kept.std(), rtol=1e-8, atol=1e-12)


def test_moments_keep_a_small_spread_about_a_large_mean() -> None:
    values = np.array([400.0, 400.05, 399.95, 400.0])
    moments = Moments.of(values[:1]) + Moments.of(values[1:])
    np.testing.assert_allclose(moments.variance, 0.00125, rtol=1e-9)


def test_moments_along_an_axis_keep_each_pixel_apart() -> None:
    values = np.array([[1.0, np.nan], [3.0, 5.0]])
    moments = Moments.of(values[:1], axis=0) + Moments.of(values[1:], axis=0)
    np.testing.assert_array_equal(moments.count, [2, 1])
    np.testing.assert_array_equal(moments.mean, [2, 5])
    np.testing.assert_array_equal(moments.std, [1, 0])


def test_moments_of_nothing_have_no_spread_and_change_nothing() -> None:
    nothing = Moments.of(np.full(3, np.nan))
    assert nothing.count == 0
    assert np.isnan(nothing.variance)
    some = Moments.of(np.array([1.0, 2.0]))
    for merged in (nothing + some, some + nothing):
        assert (merged.count, merged.mean, merged.m2) == (some.count, some.mean, some.m2)


def test_moments_refuse_values_that_are_called_valid_but_are_not_finite() -> None:
    with pytest.raises(ValueError, match=r"1 of 2 values .* NaN or infinite, so .*; mark them"):
        Moments.of(np.array([1.0, np.nan]), np.array([True, True]))


def make_years(n_years: int, *, seed: int = 0, n_seasons: int = 12) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    seasons = np.arange(n_years * n_seasons) % n_seasons
    values = rng.normal(400, 3, (len(seasons), 5, 7))
    values += 40 * np.cos(2 * np.pi * seasons / n_seasons)[:, None, None]
    values[rng.random(values.shape) < 0.1] = np.nan
    return values.astype(np.float32), seasons


def whole(values: Array, seasons: Array, n_seasons: int = 12) -> SeasonalSums:
    return SeasonalSums.zero(n_seasons, values.shape[1:]).add(values, seasons)


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_seasonal_sums_of_pieces_equal_those_of_the_whole(seed: int) -> None:
    values, seasons = make_years(4, seed=seed)
    order = [piece for piece in split(np.arange(len(values)), seed) if len(piece)]
    pieces = [whole(values[frames], seasons[frames]) for frames in order]
    merged = reduce(add, pieces, SeasonalSums.zero(12, (5, 7)))
    np.testing.assert_array_equal(merged.count, whole(values, seasons).count)
    np.testing.assert_allclose(merged.total, whole(values, seasons).total, rtol=1e-13)


def test_seasonal_means_are_plain_means_of_each_season() -> None:
    values, seasons = make_years(6)
    means = whole(values, seasons).means(MONTHS)
    assert means.shape == (12, 5, 7)
    assert means.dtype == np.float32
    for season in range(12):
        own = np.nanmean(values[seasons == season].astype(np.float64), axis=0)
        np.testing.assert_allclose(means[season], own, rtol=1e-6)


@pytest.mark.parametrize("harmonics", [1, 2, 3])
def test_harmonic_climatology_is_the_least_squares_fit_to_all_values(harmonics: int) -> None:
    values, seasons = make_years(6)
    means = whole(values, seasons).means(MONTHS, harmonics)
    angle = 2 * np.pi * np.arange(12) / 12
    basis = np.stack(
        [np.ones(12)]
        + [w(k * angle) for k in range(1, harmonics + 1) for w in (np.cos, np.sin)],
        axis=1,
    )
    for y, x in ((0, 0), (2, 3), (4, 6)):
        seen = np.isfinite(values[:, y, x])
        terms = np.linalg.lstsq(
            basis[seasons[seen]], values[seen, y, x].astype(np.float64), rcond=None
        )[0]
        np.testing.assert_allclose(means[:, y, x], basis @ terms, rtol=1e-6)


def test_as_many_harmonics_as_seasons_allow_are_the_plain_means() -> None:
    values, seasons = make_years(3)
    sums = whole(values, seasons)
    np.testing.assert_array_equal(sums.means(MONTHS, 6), sums.means(MONTHS))


def test_a_season_never_seen_is_filled_from_the_others() -> None:
    seasons = np.arange(24) % 12
    wave = 10 + 3 * np.cos(2 * np.pi * seasons / 12)
    values = np.broadcast_to(wave[:, None, None], (24, 1, 2)).copy()
    values[seasons == 0, 0, 1] = np.nan
    means = whole(values, seasons).means(MONTHS)
    assert whole(values, seasons).count[0, 0, 1] == 0
    np.testing.assert_allclose(means[0, 0], [13, 13], rtol=1e-6)


@given(seen=st.sets(st.integers(0, 11), min_size=1), harmonics=st.sampled_from([None, 1, 3, 6]))
@settings(max_examples=80, deadline=None)
def test_filled_seasons_never_swing_far_beyond_what_was_seen(
    seen: set[int], harmonics: int | None
) -> None:
    seasons = np.array(sorted(seen))
    values = (np.random.default_rng(len(seen)).uniform(0, 1, len(seen)))[:, None, None]
    means = whole(values, seasons).means(MONTHS, harmonics)
    assert np.isfinite(means).all()
    assert np.abs(means).max() < 3


@pytest.mark.parametrize(
    ("missing", "order"),
    [([5], 3), ([5, 6], 2), ([0, 1, 11], 1), ([3, 4, 5, 6, 7], 1), ([0, 1, 2, 9, 10, 11], 0)],
)
def test_a_gap_is_filled_with_harmonics_that_it_cannot_hide(
    missing: list[int], order: int
) -> None:
    seasons = np.setdiff1d(np.arange(12), missing)
    values = np.random.default_rng(0).uniform(0, 1, (len(seasons), 1, 1))
    sums = whole(values, seasons)
    lowest = sums.means(MONTHS, order) if order else np.full((12, 1, 1), values.mean())
    np.testing.assert_allclose(sums.means(MONTHS)[missing], lowest[missing], rtol=1e-5)
    np.testing.assert_allclose(sums.means(MONTHS, 5), lowest, rtol=1e-5)


def test_a_pixel_that_was_never_seen_has_no_climatology() -> None:
    values, seasons = make_years(2)
    values[:, 1, 1] = np.nan
    for harmonics in (None, 2):
        means = whole(values, seasons).means(MONTHS, harmonics)
        assert np.isnan(means[:, 1, 1]).all()
        assert np.isfinite(np.delete(means.reshape(12, -1), 8, axis=1)).all()


def test_yearly_steps_have_one_season_whatever_harmonics_are_asked_for() -> None:
    values = np.arange(6.0).reshape(3, 1, 2)
    for harmonics in (None, 1, 3):
        sums = whole(values, np.zeros(3, dtype=int), n_seasons=1)
        means = sums.means(Seasons(Step.parse("year"), 1, 1, (0,)), harmonics)
        np.testing.assert_array_equal(means, [[[2, 3]]])


def test_harmonics_lie_where_the_held_seasons_lie_in_the_year() -> None:
    held = np.arange(3, 300)
    wave = np.cos(2 * np.pi * held / 365)[:, None, None]
    seasons = Seasons(Step.parse("day"), 365, 1, tuple(held.tolist()))
    means = whole(wave, np.arange(len(held)), n_seasons=len(held)).means(seasons, 2)
    np.testing.assert_allclose(means, wave, atol=1e-6)


def test_every_time_of_day_has_a_climatology_of_its_own() -> None:
    times = make_half_days(3)
    seasons = Seasons.of(Step.parse("12 hours"), times)
    values = np.random.default_rng(0).normal(280, 5, (len(times), 2, 3))
    sums = SeasonalSums.zero(len(seasons), (2, 3)).add(values, seasons.index(times))
    month = times.astype("datetime64[M]").astype(int) % 12
    noon = times.astype("datetime64[h]").astype(int) % 24 == 12
    for index, (place, at_noon) in enumerate(product(range(12), (False, True))):
        own = values[(month == place) & (noon == at_noon)].mean(axis=0)
        np.testing.assert_allclose(sums.means(seasons)[index], own, rtol=1e-6)
    waves = sums.means(seasons, 1).reshape(12, 2, 2, 3)
    np.testing.assert_allclose(waves[0] + waves[6], waves[3] + waves[9], rtol=1e-6)


def test_a_pixel_unseen_at_a_time_of_day_takes_the_mean_of_the_others() -> None:
    times = make_half_days(1)[:8]
    seasons = Seasons.of(Step.parse("12 hours"), times)
    values = np.arange(8.0)[:, None, None] * np.ones((8, 1, 2))
    values[1::2, 0, 1] = np.nan
    sums = SeasonalSums.zero(2, (1, 2)).add(values, seasons.index(times))
    np.testing.assert_allclose(sums.means(seasons)[:, 0], [[3, 3], [4, 3]])


def make_half_days(n_years: int) -> Array:
    first = parse_time("2001")
    end = parse_time(str(2001 + n_years))
    return Step.parse("12 hours").range(first, end)[:-1]


def test_frames_that_do_not_fit_the_sums_are_refused() -> None:
    sums = SeasonalSums.zero(12, (5, 7))
    with pytest.raises(ValueError, match=r"shape \(2, 5, 6\) .* give frames \(t, y, x\)"):
        sums.add(np.zeros((2, 5, 6)), np.array([0, 1]))
    with pytest.raises(
        ValueError, match=r"run from 1 to 12, but the sums have 12 .*Seasons.index"
    ):
        sums.add(np.zeros((2, 5, 7)), np.array([1, 12]))
