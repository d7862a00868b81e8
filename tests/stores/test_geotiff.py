from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.archive import SourceVariable
from stores.errors import ArchiveError
from stores.geotiff import digest_raster, read_header, scan
from tests.make import GRID, SHAPE, make_land, write_tiff
from tests.make_ingest import read_whole

LAND = make_land()


def _source(**fields: Any) -> SourceVariable:
    return SourceVariable("v", "v.tif", **fields)


def _numbers(dtype: str, seed: int = 0) -> np.ndarray[Any, np.dtype[Any]]:
    return np.random.default_rng(seed).integers(1, 100, SHAPE).astype(dtype)


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"]),
    marker=st.sampled_from([0, 255, -9999, -32768, -3.4e38, float("nan")]),
    where=st.sampled_from(["profile", "tag", "netcdf", "band", "recipe", "mask", "nan"]),
    seed=st.integers(0, 1000),
)
def test_invalid_pixels_are_found_wherever_they_are_declared(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, marker: float, where: str, seed: int
) -> None:
    kind = np.dtype(dtype).kind
    limits = (-np.inf, np.inf) if kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if where == "nan":
        marker = float("nan")
    if kind != "f" and (np.isnan(marker) or not limits[0] <= marker <= limits[1]):
        return
    valid = np.random.default_rng(seed).random(SHAPE) > 0.3
    numbers = np.where(valid, _numbers(dtype, seed), np.dtype(dtype).type(marker))
    path = tmp_path_factory.mktemp("zoo") / "v.tif"
    _declare(path, numbers, marker, where, valid)
    source = _source(nodata=marker if where == "recipe" else None)
    values, grid, counts = read_whole(path, source)
    np.testing.assert_array_equal(np.isfinite(values), valid)
    np.testing.assert_allclose(values[valid], numbers[valid])
    assert grid == GRID
    assert (counts.valid, counts.nodata) == (valid.sum(), (~valid).sum())
    assert scan(path, source).counts == counts


def _declare(path: Path, numbers: Any, marker: float, where: str, valid: Any) -> None:
    tags = {"tag": {"Nodata": repr(marker)}, "netcdf": {"rain#_FillValue": f"{marker!r}"}}
    profile: dict[str, Any] = {"nodata": marker} if where == "profile" else {}
    write_tiff(path, numbers, tags=tags.get(where), **profile)
    with rasterio.open(path, "r+") as raster:
        if where == "band":
            raster.update_tags(1, gdal_nodata=repr(marker))
        if where == "mask":
            raster.write_mask(valid)


def test_the_marker_of_a_national_radar_stands_in_a_tag(tmp_path: Path) -> None:
    numbers = np.where(LAND, _numbers("uint8"), 255).astype(np.uint8)
    tags = {"nodata": "255", "undetect": "0", "gain": "0.5", "offset": "-32.0"}
    header = read_header(write_tiff(tmp_path / "v.tif", numbers, tags=tags), _source())
    assert header.nodata == (255.0,)
    assert header.nodata_from == "tag nodata"


def test_a_tag_that_only_sounds_like_nodata_is_none(tmp_path: Path) -> None:
    tags = {"nodata_share": "7", "band_2_nodata": "8", "nodata": "outside the radar"}
    path = write_tiff(tmp_path / "v.tif", _numbers("uint8"), tags=tags)
    assert read_header(path, _source()).nodata == ()


def test_scale_and_offset_apply_to_values_and_not_to_markers(tmp_path: Path) -> None:
    stored = np.where(LAND, 120, 0).astype(np.uint16)
    path = write_tiff(tmp_path / "v.tif", stored, nodata=0)
    with rasterio.open(path, "r+") as raster:
        raster.scales = (0.5,)
        raster.offsets = (-32.0,)
    values, _, _ = read_whole(path, _source())
    assert np.unique(values[LAND]).tolist() == [28.0]
    assert np.isnan(values[~LAND]).all()


def test_infinities_and_values_out_of_range_are_counted_and_become_invalid(
    tmp_path: Path,
) -> None:
    numbers = _numbers("float32")
    numbers[0, :3] = np.inf, -np.inf, np.nan
    numbers[1, :4] = -5, 101, 1e31, 5000
    path = write_tiff(tmp_path / "v.tif", numbers)
    values, _, counts = read_whole(path, _source(valid_range=(0, 100)))
    assert (counts.infinite, counts.outside, counts.nodata) == (2, 3, 2)
    assert counts.valid == values.size - 7 == np.isfinite(values).sum()
    assert counts.size == values.size
    assert (counts.minimum, counts.maximum) == (numbers[2:].min(), numbers[2:].max())


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"compress": None},
        {"tiled": True, "blockxsize": 16, "blockysize": 16},
        {"compress": "lzw", "predictor": 2},
        {"compress": "zstd", "blockysize": 1},
    ],
)
def test_a_file_cut_anywhere_is_unreadable(tmp_path: Path, layout: dict[str, Any]) -> None:
    path = write_tiff(tmp_path / "v.tif", _numbers("float32"), **layout)
    whole = path.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 13).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(ArchiveError, match=r"v\.tif cannot be read: .+"):
            scan(path, _source())


def test_opening_alone_does_not_show_a_truncated_file(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "v.tif", _numbers("float32"), compress=None)
    path.write_bytes(path.read_bytes()[:-100])
    assert read_header(path, _source()).grid == GRID
    with pytest.raises(ArchiveError, match="cannot be read"):
        scan(path, _source())


def test_a_virtual_raster_that_calls_itself_tif_is_refused(tmp_path: Path) -> None:
    secret = write_tiff(tmp_path / "secret.tif", _numbers("uint8"))
    disguised = tmp_path / "v.tif"
    disguised.write_text(
        '<VRTDataset rasterXSize="31" rasterYSize="23"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{secret}</SourceFilename><SourceBand>1</SourceBand>"
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(ArchiveError, match=r"v\.tif cannot be read"):
        scan(disguised, _source())


def test_a_file_without_a_crs_or_band_says_what_it_lacks(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "v.tif", _numbers("uint8"))
    with pytest.raises(ArchiveError, match="has 1 bands and no band 2; correct 'band'"):
        scan(path, _source(band=2))
    write_tiff(path, _numbers("uint8"), crs=None)
    with pytest.raises(ArchiveError, match="names no CRS"):
        scan(path, _source())


def test_the_band_that_is_asked_for_is_read(tmp_path: Path) -> None:
    bands = np.stack([_numbers("uint8", 1), _numbers("uint8", 2)])
    path = write_tiff(tmp_path / "v.tif", bands)
    np.testing.assert_array_equal(read_whole(path, _source(band=2))[0], bands[1])


def test_a_digest_covers_the_sidecars_that_change_pixels(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "v.tif", _numbers("uint8"))
    before = digest_raster(path)
    (tmp_path / "v.tif.msk").write_bytes(b"mask")
    assert digest_raster(path) != before
