"""One place can be written down in several ways; all give the same cube, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from stores.archive import SourceVariable
from stores.errors import GridError
from stores.grid import read_grid
from tests.make import GRID, NODATA, RAIN_FILES, SHAPE, date_names, make_fields, write_tiff
from tests.make_ingest import WHOLE, ingest_variables

RAIN = SourceVariable("rain", RAIN_FILES, resampling="nearest")
NAMES = list(date_names(RAIN_FILES, start="2000-01", n=3))
FIELDS = make_fields(3)
SOUTH_UP = GeoBox(SHAPE, Affine(0.1, 0, 10.0, 0, 0.1, 50.0 - 2.3), "EPSG:4326")
MIRRORED = GeoBox(SHAPE, Affine(-0.1, 0, 10.0 + 3.1, 0, -0.1, 50.0), "EPSG:4326")
TURNED = GeoBox(SHAPE, Affine(0.1, 0, 370.0, 0, -0.1, 50.0), "EPSG:4326")
GIVEN = {
    "north up": (GRID, FIELDS),
    "south up": (SOUTH_UP, FIELDS[:, ::-1]),
    "east to west": (MIRRORED, FIELDS[:, :, ::-1]),
}


@pytest.mark.parametrize("how", GIVEN)
@pytest.mark.parametrize("point", ["Area", "Point"])
def test_rows_and_columns_in_any_order_make_the_same_cube(
    tmp_path: Path, how: str, point: str
) -> None:
    grid, fields = GIVEN[how]
    for name, field in zip(NAMES, fields, strict=True):
        tags = {"AREA_OR_POINT": point}
        write_tiff(tmp_path / name, field, grid=grid, nodata=NODATA, tags=tags)
    assert (
        read_grid(tmp_path / NAMES[0]) == grid
    )  # no half of a pixel, whatever it calls a pixel
    cube = ingest_variables(tmp_path, tmp_path / "cube.zarr", RAIN)
    np.testing.assert_array_equal(cube.read("rain", WHOLE), FIELDS)


def test_longitudes_beyond_180_are_refused_where_they_do_not_meet_the_grid(
    tmp_path: Path,
) -> None:
    for name, field in zip(NAMES, FIELDS, strict=True):
        write_tiff(tmp_path / name, field, grid=TURNED, nodata=NODATA)
    with pytest.raises(GridError, match="does not meet the cube's grid"):
        ingest_variables(tmp_path, tmp_path / "cube.zarr", RAIN)
    assert not (tmp_path / "cube.zarr").exists()


def test_a_cube_across_the_antimeridian_takes_files_from_both_sides(tmp_path: Path) -> None:
    globe = GeoBox((18, 36), Affine(10, 0, -180, 0, -10, 90), "EPSG:4326")
    other = GeoBox((18, 36), Affine(10, 0, 0, 0, -10, 90), "EPSG:4326")
    field = np.arange(18 * 36, dtype=np.float32).reshape(18, 36)
    write_tiff(tmp_path / NAMES[0], field, grid=globe)
    write_tiff(tmp_path / "map.tif", np.roll(field, 18, axis=1), grid=other)
    sources = RAIN, SourceVariable("map", "map.tif", resampling="nearest")
    cube = ingest_variables(tmp_path, tmp_path / "cube.zarr", *sources, grid=globe)
    whole = type(WHOLE).from_shape((18, 36))
    np.testing.assert_array_equal(cube.read("rain", whole)[0], cube.read("map", whole))


def test_a_store_that_is_written_again_keeps_chunks_codecs_and_fill_values(
    tmp_path: Path,
) -> None:
    for name, field in zip(NAMES, FIELDS, strict=True):
        write_tiff(tmp_path / name, field, nodata=NODATA)
    cube = ingest_variables(tmp_path, tmp_path / "cube.zarr", RAIN)
    with xr.open_zarr(cube.path) as dataset:
        dataset.to_zarr(tmp_path / "again.zarr", zarr_format=3, consolidated=False)
    with (
        xr.open_zarr(cube.path) as one,
        xr.open_zarr(tmp_path / "again.zarr", consolidated=False) as other,
    ):
        xr.testing.assert_identical(one.load(), other.load())
        for key in ("chunks", "shards", "compressors", "_FillValue", "dtype"):
            assert str(one.rain.encoding.get(key)) == str(other.rain.encoding.get(key)), key


def test_what_gdal_calls_a_point_is_read_where_gdal_says(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "p.tif", FIELDS[0], tags={"AREA_OR_POINT": "Point"})
    with rasterio.open(path) as raster:
        assert raster.tags()["AREA_OR_POINT"] == "Point"
        assert read_grid(path).affine == raster.transform
