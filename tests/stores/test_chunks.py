from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from stores import grid as grids
from stores.chunks import describe_chunk_file, describe_chunk_path, list_chunk_files
from stores.forecast import open_forecast
from tests.make_issue import make_key, make_stage

side = st.integers(1, 23)


def test_the_list_of_chunk_files_is_what_lies_on_disk(tmp_path: Path) -> None:
    forecast = open_forecast(make_stage(tmp_path, make_key()) / "forecast.zarr")
    listed = set(list_chunk_files(forecast.group))
    on_disk = {
        path.relative_to(forecast.path).as_posix()
        for path in forecast.path.rglob("*")
        if path.is_file() and path.name != "zarr.json"
    }
    assert len(listed) > 12
    assert listed == on_disk


@given(shape=st.tuples(side, side, side), chunk=st.tuples(side, side, side))
def test_chunk_files_cover_every_value_exactly_once(
    shape: tuple[int, int, int], chunk: tuple[int, int, int]
) -> None:
    group = zarr.create_group(zarr.storage.MemoryStore())
    group.create_array("rain", shape=shape, chunks=chunk, dtype="uint8")
    covered = np.zeros(shape, dtype=int)
    for file in list_chunk_files(group).values():
        covered[tuple(slice(a, b) for a, b in zip(file.start, file.stop, strict=True))] += 1
    assert (covered == 1).all()


def test_a_chunk_without_a_time_axis_is_described_by_its_pixels(tmp_path: Path) -> None:
    forecast = open_forecast(make_stage(tmp_path, make_key()) / "forecast.zarr")
    files = list_chunk_files(forecast.group)
    assert describe_chunk_file(forecast.group, files["domain/c/1/0"]) == (
        "shard (1, 0) of 'domain' (y[16:23] x[0:16])"
    )
    assert describe_chunk_file(forecast.group, files["spatial_ref/c"]) == (
        "chunk () of 'spatial_ref' (all of it)"
    )


def test_a_path_alone_tells_the_chunk() -> None:
    assert describe_chunk_path("forecast.zarr/rain/c/1/0/2") == "chunk (1, 0, 2) of 'rain'"
    assert describe_chunk_path("report.html") == "report.html"


@given(
    corner=st.tuples(st.floats(-170, 170), st.floats(-80, 80)),
    pixel=st.tuples(st.floats(1e-4, 2), st.floats(1e-4, 2)),
    shape=st.tuples(side, side),
    crs=st.sampled_from(["EPSG:4326", "EPSG:32749", "EPSG:5179"]),
)
def test_a_grid_survives_its_cf_attributes_exactly(
    corner: tuple[float, float], pixel: tuple[float, float], shape: tuple[int, int], crs: str
) -> None:
    grid = GeoBox(shape, Affine(pixel[0], 0, corner[0], 0, -pixel[1], corner[1]), crs)
    assert grids.from_cf(grids.cf_grid_mapping(grid), shape) == grid
