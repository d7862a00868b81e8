import numpy as np
import pandas as pd
import pytest

from pipeline.metrics import ErrorSums
from pipeline.metrics.importance import PermutationSums, importance_table, uninformative

TRUTH = np.random.default_rng(0).normal(size=(2, 8, 9))


def make_sums(truth: np.ndarray = TRUTH, **permuted: tuple[float, ...]) -> PermutationSums:
    """Score forecasts that miss by 1, and by another number in each repeat of a covariate."""
    repeats = {
        name: tuple(ErrorSums.of(truth + miss, truth) for miss in misses)
        for name, misses in permuted.items()
    }
    return PermutationSums(ErrorSums.of(truth + 1, truth), repeats)


def row(table: pd.DataFrame, covariate: str, lead: object) -> pd.Series:
    return table[(table["covariate"] == covariate) & (table["lead"] == lead)].iloc[0]


def test_importance_is_the_growth_of_the_squared_error_with_its_spread_over_repeats() -> None:
    table = importance_table(make_sums(wind=(2.0, 3.0)), units="mm")
    for lead in (1, 2, "all"):
        found = row(table, "wind", lead)
        assert found["importance"] == pytest.approx((3 + 8) / 2)
        assert found["importance_sd"] == pytest.approx(np.std([3, 8], ddof=1))
        assert found["rmse_rise"] == pytest.approx(1.5)
        assert found["rmse_rise_sd"] == pytest.approx(np.std([1, 2], ddof=1))
        assert found["rmse"] == pytest.approx(1)
    assert row(table, "wind", 1)["n"] == 72
    assert row(table, "wind", "all")["n"] == 144
    assert set(table["units"]) == {"mm"}


def test_covariates_come_best_first_and_those_within_their_spread_are_needless() -> None:
    sums = make_sums(noise=(0.8, 1.3), wind=(2.0, 2.1), same=(1.0, 1.0), harm=(0.9, 0.91))
    table = importance_table(sums, units="mm")
    order = table[table["lead"] == "all"]["covariate"].tolist()
    assert order == ["wind", "noise", "same", "harm"]
    assert uninformative(table) == ["noise", "same", "harm"]
    assert row(table, "same", "all")["importance"] == 0


def test_sums_of_halves_give_the_table_of_the_whole() -> None:
    whole = make_sums(wind=(2.0, 0.5), rain=(1.2, 1.4))
    halves = [
        make_sums(half, wind=(2.0, 0.5), rain=(1.2, 1.4))
        for half in (TRUTH[:, :3], TRUTH[:, 3:])
    ]
    merged = importance_table(halves[0] + halves[1], units="mm")
    pd.testing.assert_frame_equal(merged, importance_table(whole, units="mm"))


def test_without_any_error_there_is_no_importance() -> None:
    perfect = ErrorSums.of(TRUTH, TRUTH)
    table = importance_table(PermutationSums(perfect, {"wind": (perfect,) * 2}), units="mm")
    assert table["importance"].isna().all()
    assert uninformative(table) == []
