from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stores.arrays import (
    ArrayTemplate,
    Coordinate,
    add_array,
    commit_group,
    create_group,
    get_array,
    open_group,
    write_block,
)
from stores.errors import CorruptError
from tests.make import GRID, SHAPE


def _create(path: Path, *, shard: tuple[int, ...] | None = None) -> None:
    rain = ArrayTemplate(
        "rain",
        ("time", "y", "x"),
        (5, *SHAPE),
        (1, 8, 8),
        shard=shard,
        attributes={"units": "mm"},
    )
    days = Coordinate(
        "time", ("time",), np.arange(5), {"units": "days since 1970-01-01"}, chunk_length=64
    )
    create_group(path, grid=GRID, arrays=[rain], coordinates=[days], attributes={"title": "t"})


def _frame() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)


def test_a_group_is_closed_to_readers_until_its_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    _create(path)
    with pytest.raises(CorruptError, match="holds no finished Zarr group"):
        open_group(path)
    commit_group(path)
    assert "rain" in open_group(path)


def test_what_is_added_after_a_commit_shows_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    _create(path)
    commit_group(path)
    add_array(open_group(path, mode="r+"), ArrayTemplate("wind", ("y", "x"), SHAPE, (8, 8)))
    assert "wind" not in open_group(path)
    commit_group(path, {"title": "later"})
    assert "wind" in open_group(path)
    assert open_group(path).attrs["title"] == "later"


@pytest.mark.parametrize("shard", [None, (1, 24, 32)])
def test_analysts_open_a_committed_group_with_xarray_alone(
    tmp_path: Path, shard: tuple[int, ...] | None
) -> None:
    path = tmp_path / "a.zarr"
    _create(path, shard=shard)
    frame = _frame()
    frame[0, 0, 0] = np.nan
    write_block(get_array(open_group(path, mode="r+"), "rain"), (2, 0, 0), frame)
    commit_group(path)
    with xr.open_zarr(path) as dataset:
        assert dataset.rain.dims == ("time", "y", "x")
        assert dataset.time.values[2] == np.datetime64("1970-01-03")
        np.testing.assert_array_equal(dataset.rain[2].values, frame[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)  # rioxarray and affine 3
            import rioxarray  # noqa: F401

            assert dataset.rio.crs.to_epsg() == 4326
            assert list(dataset.rio.transform())[:6] == pytest.approx(list(GRID.affine)[:6])


def test_a_block_that_shares_a_shard_is_refused_before_a_byte_is_written(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.zarr"
    _create(path, shard=(1, 16, 16))
    array = get_array(open_group(path, mode="r+"), "rain")
    before = sorted(path.rglob("*"))
    with pytest.raises(ValueError, match=r"block y\[8:16\] .* 'y' \(16"):
        write_block(array, (0, 8, 0), np.zeros((1, 8, 16), dtype=np.float32))
    assert sorted(path.rglob("*")) == before


@pytest.mark.parametrize("shard", [None, (1, 24, 32)])
def test_a_flipped_bit_is_an_error_and_never_a_value(
    tmp_path: Path, shard: tuple[int, ...] | None
) -> None:
    path = tmp_path / "a.zarr"
    _create(path, shard=shard)
    write_block(get_array(open_group(path, mode="r+"), "rain"), (0, 0, 0), _frame())
    commit_group(path)
    victim = next(file for file in sorted((path / "rain" / "c").rglob("*")) if file.is_file())
    sound = victim.read_bytes()
    rng = np.random.default_rng(1)
    for bit in rng.choice(len(sound) * 8, size=25, replace=False):
        broken = bytearray(sound)
        broken[bit // 8] ^= 1 << (bit % 8)
        victim.write_bytes(broken)
        with pytest.raises((ValueError, RuntimeError)):
            get_array(open_group(path), "rain")[0]


def test_a_frame_without_a_value_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    _create(path)
    array = get_array(open_group(path, mode="r+"), "rain")
    write_block(array, (0, 0, 0), np.full((1, *SHAPE), np.nan, dtype=np.float32))
    assert sum(file.is_file() for file in (path / "rain" / "c" / "0").rglob("*")) == 12


def test_an_unknown_array_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    _create(path)
    commit_group(path)
    with pytest.raises(KeyError, match="no array 'snow'; it has rain"):
        get_array(open_group(path), "snow")
