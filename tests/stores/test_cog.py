from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from stores.cog import (
    CogMetadata,
    check_cog,
    export_cogs,
    list_cogs,
    read_cog,
    write_cog,
)
from stores.errors import CorruptError
from stores.forecast import open_forecast
from stores.statistics import Statistics
from stores.times import parse_time
from stores.windows import Window
from tests.make_issue import Field, make_key, make_stage, make_values

LABEL = CogMetadata("monthly rainfall", "mm month-1", parse_time("2018-01"), {"lead": "1"})
FILL_DISK = """
import resource, sys
from collections.abc import Iterator
from pathlib import Path
import numpy as np
from stores.cog import CogMetadata, write_cog
from tests.stores.test_cog import cut, make_frame, make_grid
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    frame, grid = make_frame((300, 300)), make_grid((300, 300))
    write_cog(Path(sys.argv[1]), cut(frame), grid, CogMetadata("a", "1"))
except OSError as error:
    print(error)
"""


def make_grid(shape: tuple[int, int], *, crs: str = "EPSG:32749") -> GeoBox:
    return GeoBox(shape, Affine(1000, 0, 200_000, 0, -1000, 9_200_000), crs)


def cut(frame: Field, side: int = 512) -> Iterator[tuple[Window, Field]]:
    """Cut a frame into windows."""
    for window in Window.from_shape((frame.shape[0], frame.shape[1])).blocks(side, side):
        yield window, frame[window.slices]


def make_frame(shape: tuple[int, int]) -> Field:
    frame = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    frame[: shape[0] // 2, : shape[1] // 2] = np.nan
    frame[-1, -1] = -0.0
    return frame


@pytest.mark.parametrize("shape", [(23, 31), (512, 512), (700, 900)])
def test_a_cog_is_strictly_valid_and_keeps_every_bit(
    shape: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    frame = make_frame(shape)
    write_cog(path, cut(frame), make_grid(shape), LABEL)
    check_cog(path)
    assert (
        read_cog(path, Window.from_shape(shape)).view(np.uint32) == frame.view(np.uint32)
    ).all()
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]
    with rasterio.open(path) as raster:
        assert np.isnan(raster.nodata)
        assert raster.crs.to_epsg() == 32749
        assert raster.transform == make_grid(shape).affine
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_a_cog_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    frame = make_frame((23, 31))
    write_cog(path, cut(frame), make_grid((23, 31)), LABEL)
    with rasterio.open(path) as raster:
        assert raster.units == ("mm month-1",)
        assert raster.descriptions == ("monthly rainfall",)
        assert raster.tags()["TIFFTAG_DATETIME"] == "2018:01:01 00:00:00"
        assert raster.tags()["lead"] == "1"
        tags = raster.tags(1)
    assert float(tags["STATISTICS_MEAN"]) == pytest.approx(np.nanmean(frame), abs=1e-7)
    assert float(tags["STATISTICS_MAXIMUM"]) == np.nanmax(frame)
    assert float(tags["STATISTICS_VALID_PERCENT"]) == pytest.approx(
        100 * np.isfinite(frame).mean(), abs=1e-3
    )


def test_overviews_average_valid_pixels_and_keep_nodata(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    frame = make_frame((700, 900))
    frame[400:402, 600:602] = np.array([[1, 3], [np.nan, 5]])
    write_cog(path, cut(frame), make_grid((700, 900)), LABEL)
    with rasterio.open(path, overview_level=0) as overview:
        half = overview.read(1)
    assert half.shape == (350, 450)
    assert np.isnan(half[:174, :224]).all()
    assert np.isfinite(half[:, 226:]).all()
    assert half[200, 300] == pytest.approx(3.0)


def test_a_frame_without_a_valid_pixel_is_a_cog_too(tmp_path: Path) -> None:
    frame = np.full((23, 31), np.nan, dtype=np.float32)
    write_cog(tmp_path / "a.tif", cut(frame), make_grid((23, 31)), LABEL)
    check_cog(tmp_path / "a.tif")
    assert Statistics.of(frame).to_stac() == {"valid_percent": 0.0}


def test_the_same_frame_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        write_cog(tmp_path / name, cut(make_frame((700, 900))), make_grid((700, 900)), LABEL)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_values_of_another_shape_or_type_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    grid = make_grid((23, 31))
    window = Window.from_shape((23, 31))
    with pytest.raises(ValueError, match=r"float32 of shape \(23, 31\)"):
        write_cog(path, [(window, make_frame((31, 23)))], grid, LABEL)
    with pytest.raises(ValueError, match="values are float64"):
        write_cog(path, [(window, make_frame((23, 31)).astype("f8"))], grid, LABEL)
    with pytest.raises(ValueError, match="hold 690 px of a grid of 23 x 31 px"):
        write_cog(path, cut(make_frame((23, 30))), grid, LABEL)


def test_blocks_of_any_size_give_the_same_pixels_and_overviews(tmp_path: Path) -> None:
    shape = (1100, 1300)
    frame = make_frame(shape)
    found = []
    for side in (2048, 512, 257):
        path = tmp_path / f"{side}.tif"
        write_cog(path, cut(frame, side), make_grid(shape), LABEL)
        levels: list[dict[str, int]] = [{}, {"overview_level": 0}, {"overview_level": 1}]
        pixels = []
        for level in levels:
            with rasterio.open(path, **level) as raster:
                pixels.append(raster.read(1).tobytes())
        with rasterio.open(path) as raster:
            tags = {key: float(text) for key, text in raster.tags(1).items()}
        found.append((pixels, tags))
    assert found[0][0] == found[1][0] == found[2][0]
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-12)


@pytest.mark.parametrize("fraction", [0.02, 0.5, 0.97])
def test_a_truncated_cog_is_found(fraction: float, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_cog(path, cut(make_frame((700, 900))), make_grid((700, 900)), LABEL)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    with pytest.raises(CorruptError, match="is not a valid COG"):
        check_cog(path)


def test_a_plain_geotiff_is_no_cog(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    profile = {"height": 700, "width": 900, "count": 1, "dtype": "float32"}
    transform = Affine(10, 0, 5, 0, -10, 5)
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:32749", transform=transform, **profile
    ) as raster:
        raster.write(make_frame((700, 900)), 1)
    with pytest.raises(CorruptError, match="not tiled"):
        check_cog(path)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "out" / "a.tif"
    done = subprocess.run(
        [sys.executable, "-c", FILL_DISK, str(path)], capture_output=True, text=True, timeout=60
    )
    assert "could not be written" in done.stdout, done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_every_frame_of_a_forecast_becomes_a_cog_with_the_same_pixels(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, make_key())
    paths = export_cogs(stage)
    names = ["rain_2018-01.tif", "rain_2018-02.tif", "rain_2018-03.tif"]
    assert [path.name for path in paths] == names
    assert list(list_cogs(open_forecast(stage / "forecast.zarr"))) == names
    for path, frame in zip(paths, make_values(), strict=True):
        check_cog(path)
        np.testing.assert_array_equal(read_cog(path, Window.from_shape(frame.shape)), frame)
    with rasterio.open(paths[1]) as raster:
        assert raster.tags()["init_time"] == "2017-12"
        assert raster.tags()["time"] == "2018-02"
        assert raster.tags()["lead"] == "2"
        assert raster.tags()["issue"] == make_key().digest
        assert raster.tags()["cell_methods"] == "time: mean"
