from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.streams.axis import TimeAxis
from pipeline.streams.transforms import build_chain

CLIMATOLOGY = np.linspace(0, 9, 3 * 2 * 2, dtype=np.float32).reshape(3, 2, 2)
STEPS: dict[str, dict[str, Any]] = {
    "log1p": {"kind": "log1p"},
    "sqrt": {"kind": "sqrt"},
    "anomaly": {"kind": "anomaly", "field": "climatology"},
    "zscore": {"kind": "zscore", "offset": 3.0, "scale": 7.0},
    "minmax": {"kind": "minmax", "offset": -1.0, "scale": 20.0},
    "trend": {"kind": "trend", "slope": 2.5, "origin": "2000-01-01T00:00:00"},
}


def axis(*seasons: int) -> TimeAxis:
    """Date frames a year apart, each in a season of its own."""
    times = np.datetime64("2003", "Y") + np.arange(len(seasons))
    return TimeAxis(times.astype("datetime64[s]"), np.array(seasons))


@given(
    names=st.permutations(sorted(STEPS)).map(lambda names: names[:3]),
    seed=st.integers(0, 1000),
)
def test_a_chain_is_undone_by_its_inverse(names: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    dates = axis(*rng.integers(0, 3, 5))
    values = rng.uniform(20, 90, (5, 2, 2)).astype(np.float32)
    chain = build_chain([STEPS[name] for name in names], lambda _: CLIMATOLOGY)
    through = chain.forward(values, dates)
    if (through < 0).any() and {"log1p", "sqrt"} & set(names[1:]):
        return  # those clip what is negative, and are not asked to undo that
    back = chain.inverse(through, dates)
    assert not np.array_equal(through, values)
    if not {"log1p", "sqrt"} & set(names[1:]):
        np.testing.assert_allclose(back, values, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(STEPS))
def test_what_is_invalid_stays_invalid_both_ways(name: str) -> None:
    values = np.full((1, 2, 2), np.nan, dtype=np.float32)
    chain = build_chain([STEPS[name]], lambda _: CLIMATOLOGY)
    assert np.isnan(chain.forward(values, axis(1))).all()
    assert np.isnan(chain.inverse(values, axis(1))).all()


def test_an_anomaly_takes_the_season_of_each_frame() -> None:
    chain = build_chain([STEPS["anomaly"]], lambda _: CLIMATOLOGY)
    frames = CLIMATOLOGY[[2, 0]]
    assert not chain.forward(frames, axis(2, 0)).any()
    assert chain.forward(frames, axis(0, 2)).all()


def test_amounts_below_zero_count_as_zero() -> None:
    chain = build_chain([STEPS["log1p"]], lambda _: CLIMATOLOGY)
    assert chain.forward(np.full((1, 1, 1), -5, np.float32), axis(0)) == 0
