from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics.ensemble import EnsembleSums, summarize_members
from stores.array_types import AnyArray

Array = AnyArray


def make_ensemble(
    seed: int = 0, n_members: int = 7, center: float = 0.0, spread: float = 1.0
) -> tuple[Array, Array]:
    """Members and truth that could change places."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(center, spread, (3, 11, 13))
    drawn = mean + rng.normal(0, spread, (n_members + 1, *mean.shape))
    return drawn[1:].astype(np.float32), drawn[0].astype(np.float32)


def crps_of_pairs(members: Array, truth: Array) -> Array:
    """Compute the fair CRPS by its definition, with a sum over all pairs (lead,)."""
    x = members.astype(np.float64)
    y = truth.astype(np.float64)
    size = len(x)
    pairs = sum(np.abs(x[i] - x[j]) for i in range(size) for j in range(size))
    crps = np.abs(x - y).mean(axis=0) - pairs / (2 * size * (size - 1))
    return np.asarray(crps.mean(axis=(1, 2)))


@pytest.mark.parametrize("n_members", [2, 7])
@pytest.mark.parametrize(("center", "spread"), [(0.0, 1.0), (400.0, 0.05)])
def test_crps_equals_the_sum_over_all_pairs(
    n_members: int, center: float, spread: float
) -> None:
    members, truth = make_ensemble(1, n_members, center, spread)
    sums = EnsembleSums.of(members, truth)
    np.testing.assert_allclose(sums.crps, crps_of_pairs(members, truth), rtol=1e-9)


def test_scores_of_two_members_are_those_computed_by_hand() -> None:
    members = np.array([0.0, 4.0]).reshape(2, 1, 1, 1)
    sums = EnsembleSums.of(members, np.array([[[1.0]]]))
    assert sums.crps.tolist() == [0.0]  # (1 + 3) / 2 - (4 + 4) / 4
    assert sums.spread.tolist() == [np.sqrt(8.0)]
    assert sums.rmse.tolist() == [1.0]
    np.testing.assert_allclose(sums.spread_skill, np.sqrt(3 / 2 * 8))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_scores_of_pieces_in_any_order_equal_those_of_the_whole(seed: int) -> None:
    members, truth = make_ensemble(seed, center=400, spread=0.05)
    rng = np.random.default_rng(seed)
    valid = rng.random(truth.shape) > 0.3
    cuts = np.sort(rng.integers(0, 12, 3))
    pieces = [
        EnsembleSums.of(*parts)
        for parts in zip(
            np.split(members, cuts, axis=2),
            np.split(truth, cuts, axis=1),
            np.split(valid, cuts, axis=1),
            strict=True,
        )
    ]
    assert len(pieces) == 4
    rng.shuffle(pieces)
    merged = reduce(add, pieces, EnsembleSums.zero(3, 7))
    direct = EnsembleSums.of(members, truth, valid)
    for name in ("n", "crps", "spread", "rmse", "spread_skill"):
        np.testing.assert_allclose(
            getattr(merged, name), getattr(direct, name), rtol=1e-9, err_msg=name
        )


@pytest.mark.parametrize("n_members", [2, 5, 23])
def test_members_like_the_truth_have_a_spread_skill_of_one_and_the_same_crps(
    n_members: int,
) -> None:
    rng = np.random.default_rng(2)
    drawn = rng.normal(size=(n_members + 1, 1, 199, 211))
    sums = EnsembleSums.of(drawn[1:], drawn[0])
    np.testing.assert_allclose(sums.spread_skill, 1, atol=0.02)
    np.testing.assert_allclose(sums.crps, 1 / np.sqrt(np.pi), atol=0.015)  # of N(0, 1)


def test_members_that_agree_too_much_have_a_spread_skill_below_one() -> None:
    members, truth = make_ensemble()
    mean = members.mean(axis=0)
    sure = EnsembleSums.of(mean + 0.3 * (members - mean), truth)
    assert (sure.spread_skill < 0.5).all()
    assert (sure.crps > EnsembleSums.of(members, truth).crps).all()


def test_pixels_with_a_gap_in_any_member_do_not_count() -> None:
    members, truth = make_ensemble()
    members[3, 0, 0] = np.nan
    truth[1] = np.nan
    sums = EnsembleSums.of(members, truth)
    assert sums.n.tolist() == [130, 0, 143]
    assert np.isnan(sums.crps).tolist() == [False, True, False]
    assert np.isnan(sums.spread_skill).tolist() == [False, True, False]


def test_what_cannot_be_scored_is_refused() -> None:
    members, truth = make_ensemble()
    with pytest.raises(ValueError, match="so they have no spread"):
        EnsembleSums.of(members[:1], truth)
    with pytest.raises(ValueError, match=r"but the truth \(2, 11, 13\)"):
        EnsembleSums.of(members, truth[:2])
    with pytest.raises(ValueError, match="ensembles of 7 and 5 members do not merge"):
        EnsembleSums.of(members, truth) + EnsembleSums.zero(3, 5)
    members[2, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 3003 values that valid marks as usable"):
        EnsembleSums.of(members, truth, np.ones((11, 13), dtype=bool))


def test_a_summary_is_mean_spread_and_quantiles_of_the_members() -> None:
    members = np.array([4.0, 1.0, 2.0, 9.0, 4.0], dtype=np.float32).reshape(5, 1, 1, 1)
    mean, std, quantiles = (
        v.ravel().tolist() for v in summarize_members(members, [0, 0.1, 0.5, 1])
    )
    assert mean == [4.0]
    assert std == pytest.approx([np.sqrt(38 / 4)], rel=1e-6)
    assert quantiles == pytest.approx([1, 1.4, 4, 9])


def test_a_summary_keeps_the_spread_about_a_large_mean_and_the_gaps() -> None:
    members, _ = make_ensemble(center=400, spread=0.05)
    members[2, 1, 4, 5] = np.nan
    summary = summarize_members(members, [0.05, 0.95])
    assert summary.quantiles.shape == (2, 3, 11, 13)
    gaps = np.isnan(summary.mean)
    assert gaps.sum() == 1
    assert gaps[1, 4, 5]
    for values in (summary.std, *summary.quantiles):
        np.testing.assert_array_equal(np.isnan(values), gaps)
    exact = np.std(members.astype(np.float64), axis=0, ddof=1)
    np.testing.assert_allclose(summary.std[~gaps], exact[~gaps], rtol=1e-6)


def test_a_summary_of_one_member_is_refused() -> None:
    with pytest.raises(ValueError, match="so they have no spread"):
        summarize_members(np.zeros((1, 2, 3, 3)), [0.5])
