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


def in_kelvin(frame: Frame) -> Frame:
    """Shift a frame whose values begin at 0: times of ten and more do not hide it."""
    return np.where(frame == NODATA, frame, frame + 5000).astype(np.float32)


def of_zeros(frame: Frame) -> Frame:
    return np.where(frame == NODATA, frame, 0).astype(np.float32)


DAMAGES = {
    "scale": (times_ten, r"values are \S+ in the mean instead of \S+.*another scale or units"),
    "zeros": (with_hole, r"\S+% of the pixels are 0 instead of 0\.00%.*may be lost"),
    "missing": (with_gap, r"\S+% of the pixels are valid instead of \S+%"),
    "shift": (in_kelvin, r"values lie from 5\S+ to 5\S+, and others from \S+ to \S+.*units"),
    "constant": (of_zeros, r"all valid pixels are 0, .*values may be lost"),
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
    said = (
        "rain: 2 frames of the same bytes: 2003-05 (rain/rain_2003.05.tif); "
        "2005-01 (rain/rain_2005.01.tif), so one may stand under the date of another"
    )
    assert said in caplog.text


KELVIN = SourceVariable("lst", "lst_{time:%Y.%m}.tif")


def name_of(month: int) -> str:
    return f"lst_{2003 + month // 12}.{month % 12 + 1:02d}.tif"


def write_months(folder: Path, *, shifted: int | None = None, n_years: int = 3) -> None:
    """Write months of temperatures [degree_C], of which one may be in kelvin."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for month in range(12 * n_years):
        season = 9 - 11 * np.cos(2 * np.pi * month / 12)
        frame = season + 3 * random.standard_normal(GRID.shape)
        frame += 273.15 * (month == shifted)
        write_tiff(folder / name_of(month), frame.astype(np.float32), grid=GRID, nodata=NODATA)


@pytest.mark.parametrize("shifted", [None, 11, 18])
def test_a_month_in_kelvin_among_months_in_degrees_is_found(
    tmp_path: Path, shifted: int | None
) -> None:
    write_months(tmp_path / "lst", shifted=shifted)
    found = scan_archive(tmp_path / "lst", [KELVIN], Step.parse("month")).find_outliers()
    files = [odd.file for one in found for odd in one.outliers]
    assert set(files) == (set() if shifted is None else {name_of(shifted)})


def test_an_archive_of_one_value_is_a_warning(tmp_path: Path) -> None:
    zeros = np.zeros(GRID.shape, dtype=np.float32)
    for month in range(1, 5):
        write_tiff(tmp_path / f"lst_2003.0{month}.tif", zeros, grid=GRID, nodata=NODATA)
    (found,) = scan_archive(tmp_path, [KELVIN], Step.parse("month")).find_outliers()
    assert "lst: 4 frames of one value: 2003-01 (lst_2003.01.tif): all valid" in str(found)
    assert "pixels are 0; 2003-02" in str(found)
    assert "nothing can be learned from them" in str(found)


def test_a_dry_month_among_months_that_are_half_dry_is_not_odd(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for month in range(12):
        rain = np.maximum(random.standard_normal(GRID.shape), 0) * (month != 7)
        path = tmp_path / f"lst_2003.{month + 1:02d}.tif"
        write_tiff(path, rain.astype(np.float32), grid=GRID, nodata=NODATA)
    assert scan_archive(tmp_path, [KELVIN], Step.parse("month")).find_outliers() == []


def test_a_complex_raster_is_refused_instead_of_losing_half_of_its_numbers(
    tmp_path: Path,
) -> None:
    recipe = str(make_recipe(tmp_path))
    values = np.full(GRID.shape, 3 + 4j, dtype=np.complex64)
    write_tiff(tmp_path / "archive" / FILE, values)
    said = r"rain_2003\.05\.tif holds complex numbers.*real part with 'gdal_translate -ot .*abs"
    with pytest.raises(ValueError, match=said) as refused:
        check(recipe, [], None)
    assert "fetch the file again" not in str(refused.value)  # it would be the same
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
