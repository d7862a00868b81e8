from pathlib import Path

import numpy as np
import pytest
import rasterio

from samples.xco2_china import (
    AR1_COEFFICIENT,
    PATTERN_SD,
    TREND,
    WEATHER_SD,
    build_grid,
    make_field_model,
    months,
    write_archive,
    xco2,
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    write_archive(folder, truth=folder / "after", scale=64)
    return folder


def test_the_grid_is_that_of_the_original_maps() -> None:
    grid = build_grid(1)
    assert tuple(grid.shape) == (709, 1232)
    assert list(grid.affine)[:6] == [0.05, 0, 73.501142, 0, -0.05, 53.560901]
    assert grid.crs is not None
    assert grid.crs.to_epsg() == 4326


def test_files_are_named_and_encoded_as_the_archive_does(archive: Path) -> None:
    maps = sorted((archive / "XCO2").iterdir())
    assert len(maps) == 84
    assert (maps[0].name, maps[-1].name) == (
        "2015_01_XGBOOST_XCO2.tif",
        "2021_12_XGBOOST_XCO2.tif",
    )
    assert len(list((archive / "after").iterdir())) == 12
    for name in ("landscan/landscan_2013.tif", "CAMStcco2/CAMStcco2_2015_01.tif"):
        assert (archive / name).exists()
    with rasterio.open(maps[0]) as raster:
        assert (raster.dtypes[0], raster.nodata) == ("float32", -9999.0)
        assert raster.profile["compress"] == "lzw"
        assert raster.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"
        assert "generated" in raster.tags()["TIFFTAG_IMAGEDESCRIPTION"]


def test_covariates_of_other_models_lie_on_grids_of_their_own(archive: Path) -> None:
    sides = {}
    for name in ("ERA5Land", "CT2019B", "OCO2GEOS", "CAMStcco2"):
        with rasterio.open(archive / name / f"{name}_2018_06.tif") as raster:
            sides[name] = raster.transform.a
    assert sides == {"ERA5Land": 0.25, "CT2019B": 1.0, "OCO2GEOS": 0.5, "CAMStcco2": 0.75}


def test_fields_have_the_trend_and_the_spread_that_are_stated() -> None:
    shapes, series = make_field_model(build_grid(32)), list(months(seed=3))
    frames = np.stack([xco2(shapes, month) for month in series])[:, shapes.inside]
    assert shapes.pattern[shapes.inside].std() == pytest.approx(PATTERN_SD)
    weather = np.stack([month.weather for month in series])
    local = np.einsum("tm,mp->tp", weather, shapes.modes[:, shapes.inside])
    annual = (frames - local).mean(axis=1).reshape(-1, 12).mean(axis=1)
    assert np.diff(annual) == pytest.approx(TREND, abs=1e-6)
    assert local.std() == pytest.approx(WEATHER_SD, rel=0.3)
    again = np.corrcoef(local[1:].ravel(), local[:-1].ravel())[0, 1]
    assert again == pytest.approx(AR1_COEFFICIENT, abs=0.15)
    north = shapes.lat_lon[0][shapes.inside] > 40
    season = (frames - local)[:12]
    assert np.ptp(season[:, north].mean(1)) > 1.2 * np.ptp(season[:, ~north].mean(1))
