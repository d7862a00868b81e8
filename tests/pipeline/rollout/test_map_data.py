"""What a page draws, read window by window."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.metrics.calibration import Calibration
from pipeline.rollout import map_data
from pipeline.rollout.forecaster import forecaster_of
from pipeline.rollout.map_data import Subsampling, read_map_data
from stores.windows import Window
from tests.make_rollout import INIT, LEADS, Made, ask, forecast, frames, make_model

side = st.integers(1, 47)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_model(tmp_path_factory.mktemp("made"), training={"epochs": 1})


@given(height=side, width=side, stride=st.integers(1, 11), window=st.integers(1, 50))
def test_pixels_kept_window_by_window_are_those_of_the_whole_raster(
    height: int, width: int, stride: int, window: int
) -> None:
    subsampling = Subsampling((height, width), stride)
    values = np.arange(height * width).reshape(height, width)
    subsampled = np.full(subsampling.subsampled_shape, -1)
    for block in Window.from_shape((height, width)).blocks(window, window):
        subsampling.subsample_into(values[block.slices], block, subsampled)
    first = subsampling.first
    np.testing.assert_array_equal(subsampled, values[first::stride, first::stride])


def test_a_page_read_in_windows_shows_what_whole_frames_hold(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_data, "_SCREEN_PX", 11)
    monkeypatch.setattr(map_data, "_SIDE", 7)
    rolled = forecast(made, tmp_path, 32)
    source = forecaster_of(ask(made, init=INIT)).source
    found = read_map_data(rolled, source)
    whole = Window.from_shape(rolled.shape)
    assert found.stride == 3  # not trivial: 4 x 5 windows, none of them a multiple of 3
    truth = source.truth(whole, rolled.times)
    climatology = source.climatology(whole, rolled.times)
    values = frames(rolled)
    np.testing.assert_array_equal(found.forecast, values[:, 1::3, 1::3])
    np.testing.assert_array_equal(found.anomaly, (values - climatology)[:, 1::3, 1::3])
    np.testing.assert_array_equal(found.truth, truth[:, 1::3, 1::3])
    inside = np.isfinite(values[0])
    lead_means = found.means.iloc[-LEADS:]
    drawn = {"forecast": values, "climatology": climatology, "truth": truth}
    for name, all_values in drawn.items():
        means = np.nanmean(all_values[:, inside], axis=1, dtype=np.float64)
        np.testing.assert_allclose(lead_means[name], means, rtol=1e-6)


def test_means_begin_with_the_last_frames_before_the_forecast(
    made: Made, tmp_path: Path
) -> None:
    rolled = forecast(made, tmp_path, 32)
    source = forecaster_of(ask(made, init=INIT)).source
    means = read_map_data(rolled, source).means
    whole = Window.from_shape(rolled.shape)
    past = np.arange("2004-07", "2006-07", dtype="datetime64[M]").astype("datetime64[s]")
    np.testing.assert_array_equal(means.index[:-LEADS].to_numpy(), past)
    inside = rolled.read_domain()
    truth = np.nanmean(source.truth(whole, past)[:, inside], axis=1)
    np.testing.assert_allclose(means["truth"].iloc[:24], truth, rtol=1e-6)
    assert means["forecast"].iloc[:24].isna().all()
    assert means["climatology"].notna().all()


def test_intervals_are_drawn_as_widths_and_as_a_band_of_their_mean_ends(
    made: Made, tmp_path: Path
) -> None:
    margins = Calibration(0.8, (0.5,) * LEADS, (100,) * LEADS, "validation", ())
    request = ask(made, init=INIT, calibration=margins)
    rolled = forecast(made, tmp_path, 32, request=request)
    found = read_map_data(rolled, forecaster_of(request).source)
    lower, upper = (frames(rolled, f"rain_{end}") for end in ("lower", "upper"))
    assert found.width is not None
    np.testing.assert_array_equal(found.width, upper - lower)
    assert np.nanmin(found.width) > 0
    for end, values in (("lower", lower), ("upper", upper)):
        means = np.nanmean(values, axis=(1, 2), dtype=np.float64)
        np.testing.assert_allclose(found.means[end].iloc[-LEADS:], means, rtol=1e-6)


def test_a_long_forecast_keeps_as_many_maps_as_a_figure_has_panels(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_data, "_MAX_MAPS", 2)
    rolled = forecast(made, tmp_path, 32)
    found = read_map_data(rolled, forecaster_of(ask(made, init=INIT)).source)
    assert found.leads == (1, LEADS)
    assert len(found.forecast) == len(found.truth) == 2
    assert len(found.means) == 24 + LEADS
    np.testing.assert_array_equal(found.forecast[1], rolled.read("rain", LEADS))
