"""What can be read but can hardly be meant is told, with the file, its date and the numbers."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from flows.check import check
from flows.ingest import ingest
from stores.archive import SourceVariable
from stores.array_types import Float32Array
from stores.inventory import scan_archive
from stores.times import Step
from tests.make import GRID, NODATA, make_recipe, write_tiff

SAMPLE = Path(__file__).parents[2] / "samples/chirps_java"
RAINFALL = SourceVariable(
    "rain", "rainfall/java_chirps-v2.0.{time:%Y.%m}.tif", valid_range=(0, 5000)
)
FILE = "rain/rain_2003.05.tif"
Frame = Float32Array


def change(path: Path, edit: Callable[[Frame], Frame]) -> None:
    """Write a frame anew, with other values."""
    with rasterio.open(path) as raster:
        frame = raster.read(1)
    write_tiff(path, edit(frame), grid=GRID, nodata=NODATA)


def times_ten(frame: Frame) -> Frame:
    return np.where(frame == NODATA, frame, 10 * frame).astype(np.float32)


def with_hole(frame: Frame) -> Frame:
    """Lose a hundredth of the pixels to zeros, on land and at sea."""
    holed = frame.copy()
    holed[10:11, 8:16] = 0
    return holed


def with_gap(frame: Frame) -> Frame:
    lost = frame.copy()
    lost[8:10, 10:16] = NODATA
    return lost


def with_spike(frame: Frame) -> Frame:
    struck = frame.copy()
    struck[11, 15] = 4e9
    return struck


DAMAGES = {
    "scale": (times_ten, r"values are \S+ in the mean instead of \S+.*another scale or units"),
    "zeros": (with_hole, r"\S+% of the pixels are 0 instead of 0\.00%.*may be lost"),
    "missing": (with_gap, r"\S+% of the pixels are valid instead of \S+%"),
    "spike": (with_spike, r"largest value is 4e\+09 instead of \S+.*valid_range"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_frame_unlike_the_others_of_its_season_is_a_warning_with_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    edit, message = DAMAGES[damage]
    recipe = str(make_recipe(tmp_path, archive={"variables": {"rain": {"valid_range": None}}}))
    check(recipe, [], None)
    assert "unlike" not in caplog.text
    change(tmp_path / "archive" / FILE, edit)
    check(recipe, [], None)
    warnings = [r.getMessage() for r in caplog.records if "unlike the others" in r.getMessage()]
    assert [line for line in warnings if re.search(message, line)], warnings
    named = f"rain: 1 frame unlike the others of their season: 2003-05 ({FILE}):"
    assert all(line.startswith(named) for line in warnings)


def test_a_month_that_was_copied_to_another_is_named_with_both_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = str(make_recipe(tmp_path))
    rain = tmp_path / "archive/rain"
    shutil.copy(rain / "rain_2003.05.tif", rain / "rain_2005.01.tif")
    ingest.fn(recipe)  # a warning refuses nothing
    message = "2003-05 (rain/rain_2003.05.tif): the same bytes as rain/rain_2005.01.tif"
    assert message in caplog.text


def test_a_complex_raster_is_refused_instead_of_losing_half_of_its_numbers(
    tmp_path: Path,
) -> None:
    recipe = str(make_recipe(tmp_path))
    values = np.full(GRID.shape, 3 + 4j, dtype=np.complex64)
    write_tiff(tmp_path / "archive" / FILE, values)
    with pytest.raises(
        ValueError, match=r"rain_2003\.05\.tif holds complex numbers.*real part"
    ):
        check(recipe, [], None)
    assert not (tmp_path / "run").exists()


def test_nothing_is_odd_in_the_sample() -> None:
    found = scan_archive(SAMPLE, [RAINFALL], Step.parse("month"))
    assert len(found.series["rain"].files) > 100
    assert found.find_outliers() == []


def test_holes_of_zeros_in_the_sample_are_found(tmp_path: Path) -> None:
    shutil.copytree(SAMPLE / "rainfall", tmp_path / "rainfall")
    paths = sorted((tmp_path / "rainfall").iterdir())
    damaged = paths[3::16]
    random = np.random.default_rng(0)
    for path in damaged:
        with rasterio.open(path) as raster:
            frame = raster.read(1)
            profile = raster.profile
        first = int(random.integers(0, frame.size - frame.size // 50))
        frame.ravel()[first : first + frame.size // 50] = 0  # a hole in an uncompressed file
        with rasterio.open(path, "w", **profile) as raster:
            raster.write(frame, 1)
    found = scan_archive(tmp_path, [RAINFALL], Step.parse("month")).find_outliers()
    named = {odd.file for one in found for odd in one.outliers}
    assert named <= {f"rainfall/{path.name}" for path in damaged}
    assert len(named) >= 0.9 * len(damaged)
