from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
import zarr

from stores.errors import CorruptError
from stores.forecast import (
    commit_forecast,
    create_forecast,
    open_forecast,
    write_domain,
    write_forecast,
)
from stores.forecast_template import ForecastVariable
from stores.issue import open_stage
from stores.layout import Layout
from stores.times import Step, parse_time
from stores.windows import Window
from tests.make_issue import (
    GRID,
    LAYOUT,
    SHAPE,
    make_domain,
    make_key,
    make_stage,
    make_template,
    make_values,
)


def test_a_forecast_opens_with_xarray_and_nothing_else(tmp_path: Path) -> None:
    path = make_stage(tmp_path, make_key()) / "forecast.zarr"
    with xr.open_zarr(path) as forecast:
        assert forecast.rain.dims == ("time", "y", "x")
        assert forecast.rain.dtype == np.float32
        assert forecast.rain.attrs["units"] == "mm month-1"
        assert forecast.rain.attrs["standard_name"] == "lwe_precipitation_rate"
        months = np.array(["2018-01", "2018-02", "2018-03"], dtype="datetime64[ns]")
        np.testing.assert_array_equal(forecast.time.values, months)
        assert forecast.init_time.values == np.datetime64("2017-12-01")
        np.testing.assert_array_equal(forecast.lead.values, [1, 2, 3])
        assert "init_time" in forecast.coords
        assert "spatial_ref" in forecast.coords
        assert forecast.rio.crs.to_epsg() == 4326
        assert forecast.attrs["issue"] == make_key().digest
        np.testing.assert_array_equal(forecast.rain.values, make_values())
        np.testing.assert_array_equal(forecast.domain.values, make_domain())
        assert forecast.domain.dtype == np.uint8


def test_every_array_of_a_forecast_carries_crc32c(tmp_path: Path) -> None:
    path = make_stage(tmp_path, make_key()) / "forecast.zarr"
    written = [json.loads(file.read_text()) for file in path.glob("*/zarr.json")]
    assert len(written) == 10
    for array in written:
        codecs = array["codecs"]
        inner = codecs[0]["configuration"]["codecs"] if len(codecs) == 1 else codecs
        assert inner[-1]["name"] == "crc32c"


def test_a_forecast_knows_its_grid_exactly(tmp_path: Path) -> None:
    forecast = open_forecast(make_stage(tmp_path, make_key()) / "forecast.zarr")
    assert forecast.grid == GRID
    assert forecast.variables == ("rain",)
    assert [forecast.label(lead) for lead in (1, 2, 3)] == ["2018-01", "2018-02", "2018-03"]
    window = Window(3, 11, 5, 29)
    np.testing.assert_array_equal(
        forecast.read("rain", 2, window), make_values()[1][window.slices]
    )
    np.testing.assert_array_equal(forecast.read_domain(window), make_domain()[window.slices])


def test_a_rerun_keeps_what_an_equal_template_holds_already(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, make_key())
    create_forecast(stage, make_template())
    np.testing.assert_array_equal(
        open_forecast(stage / "forecast.zarr").read("rain", 1), make_values()[0]
    )


def test_another_template_replaces_what_was_written(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, make_key())
    create_forecast(stage, make_template(layout=Layout((1, 4, 4), (1, 4, 4))))
    with pytest.raises(CorruptError, match="holds no finished Zarr group"):
        open_forecast(stage / "forecast.zarr")


def test_a_forecast_cannot_be_opened_before_it_is_finished(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, make_key())
    create_forecast(stage, make_template())
    with pytest.raises(CorruptError, match="holds no finished Zarr group"):
        open_forecast(stage / "forecast.zarr")
    commit_forecast(stage)
    assert open_forecast(stage / "forecast.zarr").grid == GRID


def test_a_block_that_shares_a_shard_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, make_key())
    create_forecast(stage, make_template())
    window = Window(0, 16, 0, 8)
    with pytest.raises(ValueError, match=r"shard edge of 'x' \(16"):
        write_forecast(stage, "rain", window, np.zeros((3, 16, 8), dtype=np.float32))
    with pytest.raises(ValueError, match="plan blocks in multiples of 16"):
        write_domain(stage, window, np.ones((16, 8), dtype=bool))
    assert not list((stage / "forecast.zarr" / "rain").glob("c/**/*"))


def test_values_that_do_not_fit_their_window_are_refused(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, make_key())
    create_forecast(stage, make_template())
    with pytest.raises(ValueError, match=r"shape \(3, 16, 15\), but y\[0:16\] x\[0:16\] holds"):
        write_forecast(stage, "rain", Window(0, 16, 0, 16), np.zeros((3, 16, 15), np.float32))


def test_leads_can_be_written_in_blocks(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, make_key())
    create_forecast(stage, make_template())
    values = make_values()
    whole = Window.from_shape(SHAPE)
    write_domain(stage, whole, make_domain())
    write_forecast(stage, "rain", whole, values[:2])
    write_forecast(stage, "rain", whole, values[2:], lead=3)
    commit_forecast(stage)
    with xr.open_zarr(stage / "forecast.zarr") as forecast:
        np.testing.assert_array_equal(forecast.rain.values, values)


def test_a_template_for_another_init_than_the_key_is_refused(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, make_key(init="2017-11"))
    with pytest.raises(ValueError, match=r"starts 2017-12 .* named for 2017-11"):
        create_forecast(stage, make_template())


@pytest.mark.parametrize("names", [[], ["rain", "rain"], ["domain"], ["lead"]])
def test_variables_that_would_replace_arrays_are_refused(names: list[str]) -> None:
    variables = tuple(ForecastVariable(name, "1") for name in names)
    with pytest.raises(ValueError, match="arrays would replace each other"):
        replace(make_template(), variables=variables)


def test_a_stage_of_another_request_is_refused(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, make_key())
    assert open_stage(tmp_path, make_key()) == stage
    (stage.parent / "key.json").write_text(json.dumps(make_key(bundle="b2").to_json()))
    with pytest.raises(CorruptError, match="two forecasts would be mixed"):
        open_stage(tmp_path, make_key())


def test_years_and_hours_are_decoded_as_the_dates_they_are(tmp_path: Path) -> None:
    for text, init, second in [
        ("5 years", "2015", "2025-01-01"),
        ("6 hours", "2017-12-31T18", "2018-01-01T06"),
    ]:
        step = Step.parse(text)
        start = parse_time(init)
        template = replace(make_template(), step=step, init=start)
        stage = open_stage(tmp_path, make_key(init=step.label(start)))
        create_forecast(stage, template)
        commit_forecast(stage)
        with xr.open_zarr(stage / "forecast.zarr") as forecast:
            assert forecast.time.values[1] == np.datetime64(second)


def test_the_layout_of_the_template_is_what_lies_on_disk(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, make_key())
    array = zarr.open_group(stage / "forecast.zarr", mode="r")["rain"]
    assert isinstance(array, zarr.Array)
    assert (array.chunks, array.shards) == (LAYOUT.chunk, LAYOUT.shard)
