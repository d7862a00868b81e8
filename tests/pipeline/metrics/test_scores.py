import logging
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.metrics import ErrorSums, score_all
from stores.array_types import AnyArray

Array = AnyArray
SCORES = ("n", "bias", "rmse", "mae", "r2", "correlation", "sd_forecast", "sd_truth")


def make_pair(seed: int = 0, center: float = 0.0, spread: float = 1.0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(center, spread, (3, 11, 13))
    forecast = truth + rng.normal(0.2 * spread, 0.5 * spread, truth.shape)
    return forecast.astype(np.float32), truth.astype(np.float32)


def test_scores_of_a_tiny_table_are_those_computed_by_hand() -> None:
    truth = np.array([[[1.0, 2.0], [3.0, 6.0]]])
    forecast = np.array([[[2.0, 2.0], [1.0, 7.0]]])
    sums = ErrorSums.of(forecast, truth)  # errors 1, 0, -2, 1; truth about 3: -2, -1, 0, 3
    assert sums.n.tolist() == [4]
    assert sums.bias.tolist() == [0]
    np.testing.assert_allclose(sums.mse, [6 / 4])
    np.testing.assert_allclose(sums.rmse, [np.sqrt(1.5)])
    np.testing.assert_allclose(sums.mae, [1])
    np.testing.assert_allclose(sums.r2, [1 - 6 / 14])
    np.testing.assert_allclose(sums.sd_truth, [np.sqrt(14 / 4)])
    np.testing.assert_allclose(sums.sd_forecast, [np.sqrt(22 / 4)])
    np.testing.assert_allclose(sums.correlation, [15 / np.sqrt(14 * 22)])


@pytest.mark.parametrize(("center", "spread"), [(0.0, 1.0), (400.0, 0.05), (-1e4, 30.0)])
def test_scores_agree_with_scipy_even_for_a_small_spread_about_a_large_mean(
    center: float, spread: float
) -> None:
    forecast, truth = make_pair(3, center, spread)
    sums = ErrorSums.of(forecast, truth)
    for lead in range(3):
        f, t = (values[lead].ravel().astype(np.float64) for values in (forecast, truth))
        np.testing.assert_allclose(
            sums.correlation[lead], stats.pearsonr(f, t).statistic, rtol=1e-9
        )
        np.testing.assert_allclose(
            sums.r2[lead], 1 - ((f - t) ** 2).sum() / ((t - t.mean()) ** 2).sum(), rtol=1e-9
        )
        np.testing.assert_allclose(sums.rmse[lead], np.sqrt(np.mean((f - t) ** 2)), rtol=1e-12)
        np.testing.assert_allclose(sums.bias[lead], np.mean(f - t), rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), center=st.sampled_from([0.0, 400.0]))
def test_scores_of_pieces_in_any_order_equal_those_of_the_whole(
    seed: int, center: float
) -> None:
    forecast, truth = make_pair(seed, center, 0.05)
    rng = np.random.default_rng(seed)
    valid = rng.random(truth.shape) > 0.3
    cuts = np.sort(rng.integers(0, 12, 3))
    pieces = [
        ErrorSums.of(*parts)
        for parts in zip(
            *(np.split(values, cuts, axis=1) for values in (forecast, truth, valid)),
            strict=True,
        )
    ]
    assert len(pieces) == 4
    rng.shuffle(pieces)
    merged = reduce(add, pieces, ErrorSums.zero(3))
    direct = ErrorSums.of(forecast, truth, valid)
    for name in (*SCORES, "n_changes", "forecast_change", "truth_change"):
        np.testing.assert_allclose(
            getattr(merged, name), getattr(direct, name), rtol=1e-7, atol=1e-10, err_msg=name
        )


def test_pooled_scores_equal_those_of_all_leads_in_one() -> None:
    forecast, truth = make_pair(5, 400, 0.05)
    pooled = ErrorSums.of(forecast, truth).pooled()
    direct = ErrorSums.of(forecast.reshape(1, 33, 13), truth.reshape(1, 33, 13))
    assert pooled.n_leads == 1
    for name in SCORES:
        np.testing.assert_allclose(getattr(pooled, name), getattr(direct, name), rtol=1e-8)


def test_a_perfect_forecast_scores_one_and_the_mean_scores_zero() -> None:
    _, truth = make_pair(1)
    perfect = ErrorSums.of(truth, truth)
    np.testing.assert_allclose(perfect.r2, 1)
    np.testing.assert_allclose(perfect.correlation, 1)
    mean = np.broadcast_to(
        truth.astype(np.float64).mean(axis=(1, 2), keepdims=True), truth.shape
    )
    np.testing.assert_allclose(ErrorSums.of(mean, truth).r2, 0, atol=1e-12)


def test_r2_is_not_the_squared_correlation() -> None:
    _, truth = make_pair(1)
    shifted = ErrorSums.of(truth + 10, truth)
    np.testing.assert_allclose(shifted.correlation, 1, rtol=1e-6)
    assert (shifted.r2 < -10).all()


def test_a_constant_truth_has_no_r2_and_no_correlation() -> None:
    truth = np.full((1, 7, 11), 400.1, dtype=np.float32)
    forecast = make_pair(1)[0][:1, :7, :11]
    pieces = [ErrorSums.of(forecast[:, k:j], truth[:, k:j]) for k, j in ((0, 2), (2, 7))]
    sums = pieces[0] + pieces[1]
    assert np.isnan(sums.r2).all()
    assert np.isnan(sums.correlation).all()
    assert np.isfinite(sums.rmse).all()


def test_a_lead_without_a_pixel_has_no_scores_and_raises_no_warning() -> None:
    forecast, truth = make_pair(1)
    truth[1] = np.nan
    sums = ErrorSums.of(forecast, truth)
    assert sums.n.tolist() == [143, 0, 143]
    for name in SCORES[1:]:
        assert np.isnan(getattr(sums, name)[1]), name
    assert sums.n_changes.tolist() == [0, 0, 0]


def test_changes_are_summed_from_each_lead_to_the_next() -> None:
    forecast = np.array([1.0, 4.0, 4.0]).reshape(3, 1, 1)
    truth = np.array([0.0, 1.0, 3.0]).reshape(3, 1, 1)
    sums = ErrorSums.of(forecast, truth)
    assert sums.n_changes.tolist() == [0, 1, 1]
    assert sums.forecast_change.tolist() == [0, 9, 0]
    assert sums.truth_change.tolist() == [0, 1, 4]


def test_every_method_is_scored_on_the_same_pixels() -> None:
    forecast, truth = make_pair(2)
    other = forecast.copy()
    other[0, 0] = np.nan
    truth[1, :, 0] = np.nan
    domain = np.ones(truth.shape[1:], dtype=bool)
    domain[-1] = False
    sums = score_all({"model": forecast, "persistence": other}, truth, domain)
    expected = [9 * 13, 10 * 12, 10 * 13]
    assert sums["model"].n.tolist() == sums["persistence"].n.tolist() == expected
    keep = domain & np.isfinite(truth) & np.isfinite(other)
    np.testing.assert_allclose(
        sums["model"].bias[0], (forecast - truth)[0][keep[0]].mean(dtype=np.float64), rtol=1e-6
    )


def test_values_outside_the_domain_never_count() -> None:
    forecast, truth = make_pair(2)
    domain = np.ones(truth.shape[1:], dtype=bool)
    domain[3] = False
    before = score_all({"model": forecast}, truth, domain)["model"]
    forecast[:, 3], truth[:, 3] = np.inf, -1e30
    after = score_all({"model": forecast}, truth, domain)["model"]
    for name in SCORES:
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_a_method_without_values_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    forecast, truth = make_pair(2)
    nothing = np.full_like(truth, np.nan)
    with caplog.at_level(logging.WARNING):
        sums = score_all(
            {"model": forecast, "seasonal_naive": nothing}, truth, np.ones((11, 13), dtype=bool)
        )
    assert sums["model"].n.tolist() == [0, 0, 0]
    assert "seasonal_naive has no value at 429 of 429 pixels" in caplog.text
    assert "model has" not in caplog.text


def test_shapes_that_differ_are_refused() -> None:
    forecast, truth = make_pair(2)
    with pytest.raises(ValueError, match=r"persistence has shape \(2, 11, 13\) but the truth"):
        score_all({"persistence": forecast[:2]}, truth, np.ones((11, 13), dtype=bool))
    with pytest.raises(ValueError, match=r"forecast has shape \(11, 13\)"):
        ErrorSums.of(forecast[0], truth[0])


def test_a_valid_pixel_that_is_not_finite_is_refused() -> None:
    forecast, truth = make_pair(2)
    forecast[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 429 values that valid marks as usable"):
        ErrorSums.of(forecast, truth, np.ones((11, 13), dtype=bool))
