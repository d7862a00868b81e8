import numpy as np
import pytest

from pipeline.metrics import ErrorSums, collapse_alarm, format_leads
from stores.array_types import AnyArray

Array = AnyArray
N_LEADS = 6


def make_truth() -> Array:
    return np.random.default_rng(0).normal(100, 10, (N_LEADS, 23, 29))


def alarms(forecast: Array) -> list[str]:
    return collapse_alarm(ErrorSums.of(forecast, make_truth()), units="mm")


def faded(shares: list[float]) -> Array:
    truth = make_truth()
    mean = truth.mean()
    other = np.random.default_rng(1).normal(0, 10, truth.shape)
    forecast: Array = mean + np.array(shares)[:, None, None] * other
    return forecast


def test_a_forecast_with_the_spread_of_the_truth_rings_nothing() -> None:
    assert alarms(make_truth() + 3) == []
    assert alarms(faded([0.8] * N_LEADS)) == []


def test_a_flat_forecast_names_leads_values_and_units() -> None:
    (message,) = alarms(faded([1, 1, 0.9, 0.45, 0.4, 0.6]))
    assert message.startswith("The forecast is too flat at leads 4-5: at lead 5 its spread is ")
    assert " mm where the truth's is " in message
    assert "alarm below 50%" in message
    assert "so highs and lows are understated;" in message


def test_the_share_that_rings_can_be_chosen() -> None:
    sums = ErrorSums.of(faded([0.8] * N_LEADS), make_truth())
    assert collapse_alarm(sums, units="mm", min_spread_ratio=0.9)
    with pytest.raises(
        ValueError, match=r"min_spread_ratio=1.5 is no fraction .* above 0 and at most 1"
    ):
        collapse_alarm(sums, units="mm", min_spread_ratio=1.5)


def test_a_forecast_whose_spread_runs_down_is_said_to_fade() -> None:
    messages = alarms(faded([1, 0.9, 0.8, 0.7, 0.6, 0.45]))
    assert any("fades: its spread falls from" in message for message in messages)


def test_a_forecast_whose_spread_recovers_is_not_said_to_fade() -> None:
    messages = alarms(faded([1, 0.6, 0.9, 0.7, 0.6, 0.45]))
    assert not any("fades" in message for message in messages)


def test_a_forecast_that_repeats_itself_is_said_to_stand_still() -> None:
    still = np.repeat(make_truth()[:1], N_LEADS, axis=0)
    still[1:3] = make_truth()[1:3]
    (message,) = alarms(still)
    assert message.startswith("The forecast stands still at leads 5-6: from lead 5 to 6 it")
    assert "changes by 0 mm" in message


def test_a_truth_that_never_changes_rings_nothing() -> None:
    truth = np.repeat(make_truth()[:1], N_LEADS, axis=0)
    assert collapse_alarm(ErrorSums.of(truth, truth), units="mm") == []


def test_leads_that_were_not_scored_ring_nothing() -> None:
    assert collapse_alarm(ErrorSums.zero(N_LEADS), units="mm") == []


@pytest.mark.parametrize(
    ("leads", "words"),
    [([3], "lead 3"), ([4, 5, 6], "leads 4-6"), ([5, 1, 2], "leads 1-2, 5"), ([12], "lead 12")],
)
def test_leads_are_named_as_runs(leads: list[int], words: str) -> None:
    assert format_leads(leads) == words
