"""Arrays that a step holds at once, in bytes that numpy asked for: no clock, no caches."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from stores.archive import SourceVariable
from stores.cog import export_cogs
from stores.contents import check_issue_contents
from stores.forecast import commit_forecast, create_forecast, write_domain, write_forecast
from stores.forecast_template import ForecastTemplate
from stores.ingest import prepare_cube, write_frame
from stores.ingest_plan import plan_ingest
from stores.inventory import scan_archive
from stores.issue import open_stage
from stores.layout import Layout, plan_layout
from stores.times import Step, parse_time
from stores.windows import Window
from tests.make import write_tiff
from tests.make_issue import INIT, RAIN, make_key

SMALL, LARGE = 512, 1536
SHARD_PX, CHUNK_PX = 256, 128
SOURCE = SourceVariable("v", "{time:%Y.%m}.tif", "1")
MONTH = Step.parse("month")


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.geotiff.READ_PX", SHARD_PX**2)
    monkeypatch.setattr("stores.regrid._LARGEST_SIDE", SHARD_PX)
    monkeypatch.setattr("stores.forecast._WINDOW_PX", SHARD_PX)


def make_grid(side: int) -> GeoBox:
    return GeoBox((side, side), Affine(100, 0, 4_300_000, 0, -100, 3_000_000), "EPSG:3035")


def make_frame(side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).random((side, side), dtype=np.float32)


def layout_of(side: int) -> Layout:
    layout = plan_layout((side, side), chunk_bytes=4 * CHUNK_PX**2, shard_bytes=4 * SHARD_PX**2)
    assert layout.shard == (1, SHARD_PX, SHARD_PX)
    return layout


def peak_of(step: Callable[[], object]) -> int:
    """Give the bytes of arrays that a step held at once."""
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def archive_of(folder: Path, side: int) -> Path:
    tiles: dict[str, Any] = {"tiled": True, "blockxsize": 128, "blockysize": 128}
    write_tiff(folder / "2000.01.tif", make_frame(side), grid=make_grid(side), **tiles)
    return folder


def ingest(folder: Path, side: int, target: GeoBox) -> Callable[[], object]:
    plan = plan_ingest(
        scan_archive(archive_of(folder / "a", side), [SOURCE], MONTH),
        target,
        folder / "cube.zarr",
    )
    prepare_cube(replace(plan, layout=layout_of(side)))
    return lambda: write_frame(plan.path, "v", "2000-01")


def same_grid(folder: Path, side: int) -> Callable[[], object]:
    return ingest(folder, side, make_grid(side))


def warped(folder: Path, side: int) -> Callable[[], object]:
    pixel = Affine(0.0014, 0, 9.7, 0, -0.0009, 50.3)
    return ingest(folder, side, GeoBox((side, side), pixel, "EPSG:4326"))


def inventory(folder: Path, side: int) -> Callable[[], object]:
    archive = archive_of(folder, side)
    return lambda: scan_archive(archive, [SOURCE], MONTH)


def stage_of(folder: Path, side: int) -> Path:
    key = make_key(leads=1)
    template = ForecastTemplate(
        make_grid(side), (RAIN,), MONTH, parse_time(INIT), 1, layout=layout_of(side)
    )
    stage, frame = open_stage(folder, key), make_frame(side)
    create_forecast(stage, template)
    for window in Window.from_shape((side, side)).blocks(SHARD_PX, SHARD_PX):
        write_domain(stage, window, np.ones(window.shape, dtype=bool))
        write_forecast(stage, "rain", window, frame[window.slices][None])
    commit_forecast(stage)
    return stage


def cogs(folder: Path, side: int) -> Callable[[], object]:
    stage = stage_of(folder, side)
    return lambda: export_cogs(stage)


def checks(folder: Path, side: int) -> Callable[[], object]:
    stage = stage_of(folder, side)
    export_cogs(stage)
    assert check_issue_contents(stage) == []
    return lambda: check_issue_contents(stage)


@pytest.mark.parametrize("prepare", [inventory, same_grid, warped, cogs, checks])
def test_nine_times_the_raster_takes_the_arrays_of_one_window(
    prepare: Callable[[Path, int], Callable[[], object]], tmp_path: Path
) -> None:
    small = peak_of(prepare(tmp_path / "small", SMALL))
    large = peak_of(prepare(tmp_path / "large", LARGE))
    assert small > 4 * CHUNK_PX**2  # it measures something
    assert large < 1.4 * small
    assert large < 4 * LARGE**2  # less than one frame
