from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from stores.archive import SourceVariable
from stores.errors import ArchiveError
from stores.inventory import Inventory, scan_archive
from stores.times import Step, parse_time
from tests.make import GRID, RAIN_FILES, SHAPE, make_fields, make_land, make_tiffs, write_tiff

MONTH = Step.parse("month")


def _take(
    root: Path, files: str = RAIN_FILES, *, step: str = "month", **fields: Any
) -> Inventory:
    return scan_archive(root, [SourceVariable("rain", files, **fields)], Step.parse(step))


def _refusal(inventory: Inventory, *, accept_gaps: bool = False) -> str:
    with pytest.raises(ArchiveError) as caught:
        inventory.check(accept_gaps)
    return str(caught.value)


def test_a_sound_archive_passes_and_its_table_says_what_is_there(tmp_path: Path) -> None:
    make_tiffs(tmp_path, n=5)
    inventory = _take(tmp_path, valid_range=(0, 5000))
    inventory.check()
    (row,) = inventory.rows()
    assert (row["files"], row["first"], row["last"]) == ("5", "2000-01", "2000-05")
    assert row["grid"].startswith("23 x 31 px of 0.1 x 0.1 degree, EPSG:4326")
    assert (row["dtype"], row["nodata"]) == ("float32", "-9999 (profile)")
    assert row["valid %"] == f"{100 * make_land().mean():.2f}"
    flaws = ("gaps", "duplicates", "unreadable", "empty", "off grid", "outliers")
    assert [row[key] for key in flaws] == ["0"] * 6


def test_progress_counts_every_file(tmp_path: Path) -> None:
    make_tiffs(tmp_path, n=5)
    reported: list[tuple[int, int]] = []
    scan_archive(
        tmp_path,
        [SourceVariable("rain", RAIN_FILES)],
        MONTH,
        on_progress=lambda done, total, note="": reported.append((done, total)),
    )
    assert reported == [(n, 5) for n in range(1, 6)]


def test_missing_months_are_listed_and_may_be_accepted(tmp_path: Path) -> None:
    paths = make_tiffs(tmp_path, n=6)
    for index in (1, 3):
        paths[index].unlink()
    inventory = _take(tmp_path)
    text = _refusal(inventory)
    assert (
        "rain: 2 of 6 dates have no file (2000-02, 2000-04), so their frames would be" in text
    )
    assert "archive.gaps: accept" in text
    inventory.check(accept_gaps=True)


def test_two_files_of_one_month_are_both_named_and_never_accepted(tmp_path: Path) -> None:
    make_tiffs(tmp_path, n=2)
    shutil.copy(tmp_path / "rain/rain_2000.02.tif", tmp_path / "rain/rain_2000.02v2.tif")
    inventory = _take(tmp_path, "rain/rain_{time:%Y.%m}*.tif")
    text = _refusal(inventory, accept_gaps=True)
    assert "2000-02 has 2 files (rain/rain_2000.02.tif, rain/rain_2000.02v2.tif)" in text


def test_a_truncated_file_is_named_with_its_month_and_may_be_accepted(tmp_path: Path) -> None:
    paths = make_tiffs(tmp_path, n=3)
    paths[1].write_bytes(paths[1].read_bytes()[:-300])
    inventory = _take(tmp_path)
    text = _refusal(inventory)
    assert (
        "2000-02 (rain/rain_2000.02.tif) is unreadable: rain_2000.02.tif cannot be read" in text
    )
    assert "fetch the file again" in text
    inventory.check(accept_gaps=True)


def test_a_month_without_a_valid_pixel_is_named_and_may_be_accepted(tmp_path: Path) -> None:
    paths = make_tiffs(tmp_path, n=3)
    write_tiff(paths[2], np.full(SHAPE, np.nan, dtype=np.float32), nodata=-9999.0)
    inventory = _take(tmp_path)
    assert "2000-03 (rain/rain_2000.03.tif) has no valid pixel" in _refusal(inventory)
    inventory.check(accept_gaps=True)


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (GeoBox(SHAPE, GRID.affine, "EPSG:4258"), "its CRS is EPSG:4258 and theirs EPSG:4326"),
        (
            GeoBox(SHAPE, GRID.affine @ Affine.translation(0.5, -0.5), "EPSG:4326"),
            "it is shifted by +0.5 px in x and -0.5 px in y",
        ),
        (
            GeoBox(SHAPE, GRID.affine @ Affine.scale(1.01), "EPSG:4326"),
            "its transform is [0.101",
        ),
        (
            GeoBox((23, 30), GRID.affine, "EPSG:4326"),
            "its shape is 23 x 30 px and theirs 23 x 31 px",
        ),
    ],
)
def test_a_month_on_another_grid_is_named_against_the_majority(
    tmp_path: Path, grid: GeoBox, says: str
) -> None:
    paths = make_tiffs(tmp_path, n=4)
    shape = (grid.height, grid.width)
    write_tiff(paths[0], make_fields(1, shape)[0], grid=grid, nodata=-9999.0)
    text = _refusal(_take(tmp_path), accept_gaps=True)
    assert "2000-01 (rain/rain_2000.01.tif) lies elsewhere than most of the series" in text
    assert says in text
    assert "2000-02" not in text


def test_a_pattern_that_finds_nothing_says_what_is_near(tmp_path: Path) -> None:
    make_tiffs(tmp_path, n=2)
    text = _refusal(_take(tmp_path, "rain/rains_{time:%Y.%m}.tif"), accept_gaps=True)
    assert "no file fits 'rain/rains_{time:%Y.%m}.tif'" in text
    assert "near are rain/rain_2000.0" in text
    text = _refusal(_take(tmp_path, "snow/snow_{time:%Y.%m}.tif"))
    assert f"folder {tmp_path / 'snow'} does not exist" in text


def test_names_whose_date_fits_no_frame_are_listed(tmp_path: Path) -> None:
    make_tiffs(tmp_path, n=2)
    shutil.copy(tmp_path / "rain/rain_2000.01.tif", tmp_path / "rain/rain_2000.13.tif")
    text = _refusal(_take(tmp_path), accept_gaps=True)
    assert "rain/rain_2000.13.tif: '2000 13' (%Y %m) is no date" in text


def test_a_file_between_two_steps_is_told_from_the_series(tmp_path: Path) -> None:
    field = make_fields(1)[0]
    for year in (1985, 1990, 1993, 1995):
        write_tiff(tmp_path / f"lc_{year}.tif", field)
    text = _refusal(_take(tmp_path, "lc_{time:%Y}.tif", step="5 years"), accept_gaps=True)
    assert "lc_1993.tif: 1993 lies between two frames of step 5 years" in text
    assert "dates have no file" not in text


def test_a_static_map_is_one_file_and_no_gap_may_replace_it(tmp_path: Path) -> None:
    make_tiffs(tmp_path, n=1)
    for name in ("dem_a.tif", "dem_b.tif"):
        write_tiff(tmp_path / name, make_fields(1)[0])
    assert "2 files fit 'dem_*.tif'" in _refusal(_take(tmp_path, "dem_*.tif"), accept_gaps=True)
    (tmp_path / "dem_a.tif").write_bytes(b"II*\0")
    text = _refusal(_take(tmp_path, "dem_a.tif"), accept_gaps=True)
    assert "static (dem_a.tif) is unreadable" in text


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    paths = make_tiffs(tmp_path, n=6)
    paths[1].unlink()
    paths[2].write_bytes(b"")
    shutil.copy(paths[3], tmp_path / "rain/rain_2000.00.tif")
    text = _refusal(_take(tmp_path))
    assert "cannot be ingested, 3 problems:" in text
    assert len(text.splitlines()) == 4


def test_an_archive_in_which_nothing_can_be_read_is_never_accepted(tmp_path: Path) -> None:
    for path in make_tiffs(tmp_path, n=3):
        path.write_bytes(b"")
    assert "none of 3 files holds a valid pixel" in _refusal(_take(tmp_path), accept_gaps=True)


def test_bounds_leave_files_out_and_make_absent_dates_gaps(tmp_path: Path) -> None:
    make_tiffs(tmp_path, n=6)
    sources = [SourceVariable("rain", RAIN_FILES)]
    start = parse_time("2000-03")
    end = parse_time("2000-08")
    inventory = scan_archive(tmp_path, sources, MONTH, start=start, end=end)
    assert inventory.rows()[0]["files"] == "4"
    assert "2 of 6 dates have no file (2000-07, 2000-08)" in _refusal(inventory)


def test_infinities_and_values_out_of_range_are_counted(tmp_path: Path) -> None:
    paths = make_tiffs(tmp_path, n=2)
    field = make_fields(1)[0]
    field[3, 3:8] = np.inf
    field[4, 3:6] = -1
    write_tiff(paths[0], field)
    row = _take(tmp_path, valid_range=(0, 5000)).rows()[0]
    assert (row["infinite"], row["outside"]) == ("5", "3")


def test_what_no_reader_understands_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "rain_2000.nc").touch()
    with pytest.raises(ArchiveError, match=r"1 files are no GeoTIFFs \(rain_2000\.nc\)"):
        _take(tmp_path, "rain_{time:%Y}.nc")


def test_an_archive_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="is no folder"):
        _take(tmp_path / "absent")


def test_annual_maps_are_due_every_year(tmp_path: Path) -> None:
    for year in (2000, 2001, 2003):
        write_tiff(tmp_path / f"lc_{year}.tif", make_fields(1)[0])
    inventory = _take(tmp_path, "lc_{time:%Y}.tif")
    assert "1 of 4 dates have no file (2002)" in _refusal(inventory)
    assert inventory.rows()[0]["cadence"] == "annual"


def test_tags_of_a_scale_that_gdal_does_not_apply_are_told(tmp_path: Path) -> None:
    values = make_fields(1)[0]
    path = tmp_path / RAIN_FILES.format(time=np.datetime64("2000-01", "s").item())
    write_tiff(path, values, tags={"gain": "0.5", "offset": "-32.0", "scale": "1.0"})
    (reported,) = _take(tmp_path).unapplied()
    assert "gain=0.5, offset=-32.0 of rain/rain_2000.01.tif are not applied" in reported
    assert "gdal_edit.py -scale" in reported
    with rasterio.open(path, "r+") as raster:  # then GDAL applies its own
        raster.scales = [0.5]
        raster.offsets = [-32.0]
    assert _take(tmp_path).unapplied() == []


def test_a_table_says_which_of_several_bands_is_read(tmp_path: Path) -> None:
    path = tmp_path / RAIN_FILES.format(time=np.datetime64("2000-01", "s").item())
    write_tiff(path, np.stack([make_fields(1)[0]] * 3))
    (row,) = _take(tmp_path, band=2).rows()
    assert row["band"] == "2 of 3"
