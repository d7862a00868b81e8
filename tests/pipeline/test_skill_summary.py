import math

import numpy as np
import pandas as pd
import pytest

from pipeline.metrics import ErrorSums, score_table
from pipeline.skill_summary import (
    list_warnings,
    score_overview,
    verdict,
    warn_baselines_not_beaten,
)


def make_scores(model: list[float], **references: list[float]) -> pd.DataFrame:
    truth = np.tile(np.arange(9.0).reshape(1, 3, 3), (len(model), 1, 1))
    signs = np.where(np.arange(9).reshape(3, 3) % 2, 1.0, -1.0)
    sums = {
        name: ErrorSums.of(truth + np.array(errors)[:, None, None] * signs, truth)
        for name, errors in {"convlstm": model, **references}.items()
    }
    return score_table(sums, units="mm month-1")


def test_the_verdict_says_plainly_when_a_baseline_is_better() -> None:
    table = make_scores([3, 3], persistence=[6, 6], climatology=[2, 2])
    assert verdict(table) == (
        "Over all leads together the forecast (RMSE 3 mm month⁻¹) is worse than climatology "
        "(RMSE 2, skill -1.25), better than persistence (RMSE 6, skill 0.75); "
        "climatology alone would have served better."
    )


def test_the_verdict_names_leads_that_are_worse_though_all_together_are_better() -> None:
    table = make_scores([1, 3], persistence=[6, 2], climatology=[4, 4])
    assert verdict(table).endswith("; yet it is worse than persistence at lead 2.")
    assert warn_baselines_not_beaten(table) == [
        "The forecast is worse than persistence at lead 2: its skill is -1.25 at lead 2 "
        "(RMSE 3 against 2), and 0.75 over all leads together."
    ]


def test_the_verdict_of_a_better_forecast_stays_sober() -> None:
    table = make_scores([1, 1], persistence=[2, 2], climatology=[1, 1])
    assert verdict(table) == (
        "Over all leads together the forecast (RMSE 1 mm month⁻¹) is as good as climatology "
        "(RMSE 1, skill 0.00), better than persistence (RMSE 2, skill 0.75)."
    )
    assert warn_baselines_not_beaten(table) == []


def test_the_verdict_claims_nothing_without_pixels_or_baselines() -> None:
    assert verdict(make_scores([1])).startswith(
        "No baseline was scored, so the forecast (RMSE 1"
    )
    empty = ErrorSums.zero(2)
    table = score_table({"convlstm": empty, "climatology": empty}, units="mm")
    assert verdict(table).startswith("No pixel has both a forecast and a truth")
    assert warn_baselines_not_beaten(table) == []


def test_a_verdict_on_two_forecasts_at_once_is_refused() -> None:
    table = make_scores([1], other=[2])
    with pytest.raises(ValueError, match=r"\['convlstm', 'other'\] are no baselines, so it is"):
        verdict(table)


def test_the_overview_has_one_row_a_lead_with_every_methods_error() -> None:
    overview = score_overview(make_scores([1, 3], persistence=[2, 2]))
    assert overview.index.tolist() == [1, 2, "all"]
    assert overview["RMSE [mm month⁻¹]"].tolist() == pytest.approx([1, 3, np.sqrt(5)])
    assert overview["RMSE of persistence [mm month⁻¹]"].tolist() == pytest.approx([2, 2, 2])
    assert overview["skill against persistence"].tolist() == pytest.approx([0.75, -1.25, -0.25])


def test_errors_that_differ_are_not_written_alike() -> None:
    table = make_scores([101.24, 1], climatology=[100.73, 1])
    (warning,) = warn_baselines_not_beaten(table)
    assert "skill is -0.01 at lead 1 (RMSE 101.2 against 100.7)" in warning
    pooled = make_scores([101.24], climatology=[100.73], persistence=[400])
    assert "forecast (RMSE 101.2 mm month\u207b\u00b9) is worse than" in verdict(pooled)
    assert "climatology (RMSE 100.7, skill -0.01)" in verdict(pooled)


def make_chances(coverage: list[float], level: float = 0.8) -> pd.DataFrame:
    leads = np.arange(1, len(coverage) + 1)
    columns = {"lead": leads, "level": level, "n": 100, "coverage": coverage, "width": 1.0}
    return pd.DataFrame(columns | {"units": "mm"})


def test_bias_is_warned_of_beside_the_error() -> None:
    truth = np.tile(np.arange(9.0).reshape(1, 3, 3), (4, 1, 1))
    noise = np.where(np.arange(9).reshape(3, 3) % 2, 1.0, -1.0)
    off = np.array([0.0, -1, -3, 4])[:, None, None]
    table = score_table({"convlstm": ErrorSums.of(truth + off + noise, truth)}, units="mm")
    high, low = list_warnings(table, None)
    assert "too high at lead 4: its mean is off by +3.89 mm, beside an RMSE of 4.01" in high
    assert "too low at leads 2-3, most at lead 3: its mean is off by -3.11 mm" in low


def test_coverage_that_is_far_from_what_was_promised_is_warned_of_with_numbers() -> None:
    table = make_scores([1, 1, 1], climatology=[2, 2, 2])
    assert list_warnings(table, make_chances([0.71, 0.8, 0.89])) == []
    few, many = list_warnings(table, make_chances([0.69, 0.651, 0.93]))
    assert few == (
        "Intervals promise 80% of the truths, but those of the test part are too sure at leads "
        "1-2: they held 65.1% at lead 2."
    )
    assert "too unsure at lead 3: they held 93.0% at lead 3." in many


def test_coverage_that_was_not_counted_or_not_asked_for_is_not_warned_of() -> None:
    table = make_scores([1, 1], climatology=[2, 2])
    assert list_warnings(table, make_chances([math.nan, 0.8])) == []
    assert list_warnings(table, make_chances([0.1, 0.1]).drop(columns="coverage")) == []
