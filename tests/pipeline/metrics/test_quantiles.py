import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.metrics.ensemble import EnsembleSums
from pipeline.metrics.quantiles import QuantileSums

SHAPE = (2, 5, 7)


def test_loss_and_fraction_are_those_of_their_definitions_by_hand() -> None:
    truth = np.array([[[0.0, 2.0, 3.0, np.nan]]])
    low = np.full((1, 1, 4), 1.0)
    high = np.full((1, 1, 4), 3.0)
    found = QuantileSums.of({0.1: low, 0.9: high}, truth)
    assert found.n.tolist() == [3]
    low_costs = [0.9 * 1, 0.1 * 1, 0.1 * 2]
    high_costs = [0.1 * 3, 0.1 * 1, 0.0]
    np.testing.assert_allclose(found.pinball[:, 0], [np.mean(low_costs), np.mean(high_costs)])
    np.testing.assert_allclose(found.fraction_below[:, 0], [1 / 3, 1.0])


@given(seed=st.integers(0, 99), cut=st.integers(0, 7))
def test_parts_add_up_to_the_whole_in_any_order(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    truth, low, high = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    truth[rng.random(SHAPE) < 0.2] = np.nan
    high[rng.random(SHAPE) < 0.1] = np.nan
    whole = QuantileSums.of({0.2: low, 0.7: high}, truth)
    parts = [
        QuantileSums.of({0.2: low[..., part], 0.7: high[..., part]}, truth[..., part])
        for part in (slice(cut, None), slice(0, cut))
    ]
    total = QuantileSums.zero(2, (0.2, 0.7)) + parts[0] + parts[1]
    assert 0 < whole.n.min() < np.prod(SHAPE[1:])
    np.testing.assert_array_equal(total.n, whole.n)
    np.testing.assert_allclose(total.pinball, whole.pinball)
    np.testing.assert_array_equal(total.fraction_below, whole.fraction_below)


def test_twice_the_mean_loss_of_many_quantiles_is_the_crps() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(1, 20, 20))
    members = rng.normal(size=(400, 1, 20, 20))
    levels = [(k + 0.5) / 99 for k in range(99)]
    fields = np.quantile(members, levels, axis=0)
    found = QuantileSums.of(dict(zip(levels, fields, strict=True)), truth)
    expected = EnsembleSums.of(members, truth).crps[0]
    assert 2 * found.pinball.mean() == pytest.approx(expected, rel=0.01)


def test_a_lead_without_a_truth_has_no_score() -> None:
    truth = np.full(SHAPE, np.nan)
    found = QuantileSums.of({0.5: np.zeros(SHAPE)}, truth)
    assert np.isnan(found.pinball).all()
    assert np.isnan(found.fraction_below).all()


def test_quantiles_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="give \\(lead, y, x\\) on one window for each"):
        QuantileSums.of({0.5: np.zeros((2, 5, 6))}, np.zeros(SHAPE))
    one, other = (QuantileSums.zero(2, (level,)) for level in (0.1, 0.9))
    with pytest.raises(ValueError, match="score them apart"):
        one + other
