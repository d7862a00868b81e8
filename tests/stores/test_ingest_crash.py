from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from zarr.core.sync import sync as zarr_sync

from stores import files, ingest
from stores.append import PlannedFrame
from stores.archive import SourceVariable
from stores.cube import Cube
from stores.errors import CorruptError
from stores.ingest_frame import copy_frame
from stores.ingest_pending import write_target
from stores.ingest_plan import plan_ingest
from stores.inventory import Inventory, scan_archive
from stores.times import Step
from stores.verify import verify
from stores.windows import Window
from tests.make import GRID, RAIN_FILES, SHAPE, make_archive

SOURCES = [SourceVariable("rain", RAIN_FILES), SourceVariable("elevation", "elevation.tif")]
WHOLE = Window.from_shape(SHAPE)


class PowerCut(BaseException):
    """Nothing may catch it and clean up, as nothing does when the power fails."""


class Writes:
    """Counts what changes the disk, and cuts the power before the one that is asked for."""

    def __init__(self, cut_before: int | None) -> None:
        self.n = 0
        self.cut_before = cut_before

    def pass_on(self, write: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self.n == self.cut_before:
                raise PowerCut
            self.n += 1
            return write(*args, **kwargs)

        return counted


@contextlib.contextmanager
def _writes(cut_before: int | None) -> Iterator[Writes]:
    writes = Writes(cut_before)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (Path, "replace"),
            (Path, "rename"),
            (Path, "unlink"),
            (os, "link"),
            (shutil, "rmtree"),
        ):
            patch.setattr(owner, name, writes.pass_on(getattr(owner, name)))
        for module in (files, ingest):
            patch.setattr(
                module, "fsync_path", lambda _path: None
            )  # what is asked is the order
        with contextlib.suppress(PowerCut):
            yield writes
        zarr_sync(_rest())  # writes beside the one that was cut must not outlive the power


async def _rest() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


def _inventory(archive: Path) -> Inventory:
    return scan_archive(archive, SOURCES, Step.parse("month"))


def _ingest(inventory: Inventory, path: Path) -> None:
    plan = plan_ingest(inventory, GRID, path)
    ingest.prepare_cube(plan)
    receipts = [ingest.write_frame(path, frame.variable, frame.key) for frame in plan.frames]
    ingest.commit_cube(plan, receipts)


def _state(path: Path) -> tuple[str, int] | None:
    """Return what readers see: version and months; both ways to open have to agree."""
    try:
        cube = Cube.open(path)
    except CorruptError:
        assert not path.exists()
        return None
    assert verify(path) == []
    with xr.open_zarr(path) as dataset:
        np.testing.assert_array_equal(dataset.rain.values, cube.read("rain", WHOLE))
        assert np.isfinite(dataset.rain.values).any(axis=(1, 2)).all()
        assert dataset.sizes["time"] == len(cube.times)
    return cube.version, len(cube.times)


@pytest.mark.parametrize("months_before", [0, 1])
def test_a_crash_before_any_write_leaves_old_or_new_and_a_rerun_finishes(
    tmp_path: Path, months_before: int
) -> None:
    start = tmp_path / "start"
    whole = tmp_path / "whole"
    start.mkdir()
    if months_before:
        make_archive(tmp_path / "archive", n=months_before)
        _ingest(_inventory(tmp_path / "archive"), start / "cube.zarr")
    make_archive(tmp_path / "archive", n=3)
    inventory = _inventory(tmp_path / "archive")
    shutil.copytree(start, whole)
    with _writes(None) as undisturbed:
        _ingest(inventory, whole / "cube.zarr")
    old = _state(start / "cube.zarr")
    new = _state(whole / "cube.zarr")
    assert undisturbed.n > 10
    assert new is not None
    assert new[1] == 3
    seen = set()
    for n in range(undisturbed.n):
        root = tmp_path / f"cut{n}"
        shutil.copytree(start, root)
        with _writes(n):
            _ingest(inventory, root / "cube.zarr")
        seen.add(_state(root / "cube.zarr"))
        assert seen <= {old, new}
        with _writes(None):
            _ingest(inventory, root / "cube.zarr")
        assert _state(root / "cube.zarr") == new
        _assert_equal(root, whole)
    assert seen == {old, new}


def _assert_equal(root: Path, whole: Path) -> None:
    cubes = [Cube.open(folder / "cube.zarr") for folder in (root, whole)]
    for name in ("rain", "elevation"):
        one, other = (cube.read(name, WHOLE) for cube in cubes)
        np.testing.assert_array_equal(one, other)
    left = sorted(path.name for path in root.iterdir())
    assert [name for name in left if name != ".cube.zarr.pending"] == [
        "cube.inputs",
        "cube.zarr",
    ]


def test_a_rerun_writes_only_the_frames_that_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = _inventory(make_archive(tmp_path / "archive", n=4))
    path = tmp_path / "cube.zarr"
    plan = plan_ingest(inventory, GRID, path)
    ingest.prepare_cube(plan)
    first = [ingest.write_frame(path, f.variable, f.key) for f in plan.frames[:3]]
    read: list[str] = []

    def watched(job: Any, frame: PlannedFrame, array: Any) -> Any:
        read.append(frame.key)
        return copy_frame(job, frame, array)

    monkeypatch.setattr("stores.ingest.copy_frame", watched)
    plan = plan_ingest(inventory, GRID, path)
    ingest.prepare_cube(plan)
    again = [ingest.write_frame(path, f.variable, f.key) for f in plan.frames]
    assert again[:3] == first
    assert read == [frame.key for frame in plan.frames[3:]]


def test_a_frame_whose_file_was_lost_is_written_again(tmp_path: Path) -> None:
    inventory = _inventory(make_archive(tmp_path / "archive", n=2))
    path = tmp_path / "cube.zarr"
    plan = plan_ingest(inventory, GRID, path)
    ingest.prepare_cube(plan)
    receipts = [ingest.write_frame(path, f.variable, f.key) for f in plan.frames]
    lost = tmp_path / ".cube.zarr.pending" / "cube.zarr" / "rain" / "c" / "1"
    shutil.rmtree(lost)
    assert [ingest.write_frame(path, f.variable, f.key) for f in plan.frames] == receipts
    ingest.commit_cube(plan, receipts)
    assert Cube.open(path).read("rain", WHOLE).shape[0] == 2


def test_an_unfinished_ingest_of_another_archive_is_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "cube.zarr"
    plan = plan_ingest(_inventory(make_archive(tmp_path / "one", n=3, seed=5)), GRID, path)
    ingest.prepare_cube(plan)
    for frame in plan.frames:
        ingest.write_frame(path, frame.variable, frame.key)
    _ingest(_inventory(make_archive(tmp_path / "other", n=2)), path)
    _ingest(_inventory(tmp_path / "other"), tmp_path / "alone.zarr")
    cube = Cube.open(path)
    alone = Cube.open(tmp_path / "alone.zarr")
    assert cube.version == alone.version
    np.testing.assert_array_equal(cube.read("rain", WHOLE), alone.read("rain", WHOLE))


@pytest.mark.parametrize("n_before", [0, 2])
def test_half_a_chunk_of_a_killed_writer_goes_when_its_ingest_goes_on(
    tmp_path: Path, n_before: int
) -> None:
    path = tmp_path / "cube.zarr"
    if n_before:
        first = plan_ingest(
            _inventory(make_archive(tmp_path / "archive", n=n_before)), GRID, path
        )
        ingest.prepare_cube(first)
        receipts = [ingest.write_frame(first, one.variable, one.key) for one in first.frames]
        ingest.commit_cube(first, receipts)
    plan = plan_ingest(_inventory(make_archive(tmp_path / "archive", n=4)), GRID, path)
    ingest.prepare_cube(plan)
    half = write_target(path) / "rain/c/3/0/0.0123abcd.partial"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    ingest.prepare_cube(plan)
    assert not half.exists()
