"""A disk that is full says so, whatever it stops; with room again, the same command goes on."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from flows.check import check
from flows.forecast import forecast
from flows.ingest import ingest
from flows.train import train
from pipeline.training.checkpoint import Checkpoint
from stores.errors import DiskFullError
from stores.manifest import read_manifest
from tests.make import make_recipe
from tests.make_disk import SmallDisk
from tests.make_flow import INIT, recipe_of, tree

LEVELS = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9)
"""Room that a flow has, as a share of what it leaves on a disk."""
ENOUGH = 0.7
"""Disks count their blocks in several ways, so that this share may be all."""
LITTER = (".tmp", ".partial", ".__partial")


def run_ingest(store: Path, root: Path) -> str:
    return ingest.fn(recipe_of(store), root=str(root))


def run_train(store: Path, root: Path) -> str:
    return Path(train.fn(recipe_of(store), root=str(root))).name


def run_forecast(store: Path, root: Path) -> str:
    issue = Path(forecast.fn(recipe_of(store), root=str(root), init=INIT))
    return str(sorted(read_manifest(issue)["files"].items()))


@dataclass(frozen=True)
class Flow:
    run: Callable[[Path, Path], str]
    before: tuple[str, ...]
    """What has to be there."""
    published: str
    """What readers look for."""


FLOWS = {
    "ingest": Flow(run_ingest, (), "cube.zarr"),
    "train": Flow(run_train, ("cube.zarr", "cube.inputs"), "models/*.current"),
    "forecast": Flow(run_forecast, ("cube.zarr", "cube.inputs", "models"), "issues/*/*"),
}


def begin(store: Path, root: Path, flow: Flow) -> None:
    """Copy what a flow begins with."""
    root.mkdir()
    for name in flow.before:
        shutil.copytree(store / "run" / name, root / name)


def occupied(root: Path) -> int:
    """Count what lies below a folder, in whole blocks of a disk."""
    return sum(path.lstat().st_blocks * 512 for path in root.rglob("*"))


@pytest.fixture(scope="module")
def calm(
    trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[str, int]]:
    """Run a flow with room for it, once: what comes of it, and what it takes."""
    known: dict[str, tuple[str, int]] = {}

    def of(name: str) -> tuple[str, int]:
        if name not in known:
            root = tmp_path_factory.mktemp("calm") / "run"
            begin(trained, root, FLOWS[name])
            before = occupied(root)
            known[name] = FLOWS[name].run(trained, root), occupied(root) - before
        return known[name]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_on_a_full_disk_says_so_and_goes_on_once_there_is_room(
    trained: Path,
    small_disk: SmallDisk,
    calm: Callable[[str], tuple[str, int]],
    name: str,
    level: float,
) -> None:
    flow = FLOWS[name]
    expected, needed = calm(name)
    root = small_disk.mount / "run"
    begin(trained, root, flow)
    small_disk.leave(int(level * needed))
    message = ""
    try:
        flow.run(trained, root)
    except DiskFullError as full:
        message = str(full)
    if message or level < ENOUGH:
        assert re.search(rf"the disk at {small_disk.mount} has \S+ k?B left", message)
        assert not list(root.glob(flow.published))
    small_disk.grow()
    assert flow.run(trained, root) == expected
    assert not [path for path in root.rglob("*") if path.name.endswith(LITTER)]


def test_an_ingest_that_fills_the_disk_names_frame_and_disk_and_goes_on_once_there_is_room(
    tmp_path: Path, small_disk: SmallDisk
) -> None:
    recipe = str(make_recipe(tmp_path))
    root = small_disk.mount / "run"
    small_disk.leave(250_000)  # each of 98 files takes a block of the disk
    message = (
        rf"of rain/rain_\S+\.tif: .* could not be written, because the disk at {root.parent}"
    )
    with pytest.raises(DiskFullError, match=message):
        ingest.fn(recipe, root=str(root))
    assert not (root / "cube.zarr").exists()
    small_disk.grow()
    version = ingest.fn(recipe, root=str(root))
    assert version == ingest.fn(recipe, root=str(tmp_path / "calm"))
    assert not [path for path in root.rglob("*") if path.name.endswith(LITTER)]


def test_an_ingest_without_room_is_refused_before_a_byte_is_written(
    tmp_path: Path, small_disk: SmallDisk
) -> None:
    recipe = str(make_recipe(tmp_path))
    root = small_disk.mount / "run"
    small_disk.leave(50_000)
    message = r"an ingest of 98 frames takes \S+ kB or more .* has \S+ kB left of .*--root"
    for work in (check, ingest.fn):
        with pytest.raises(DiskFullError, match=message):
            work(recipe, [], str(root))
    assert tree(small_disk.mount) == []


def test_a_state_that_does_not_fit_names_its_file_and_disk(small_disk: SmallDisk) -> None:
    checkpoint = Checkpoint(small_disk.mount, {"recipe": "r", "cube": "c"})
    small_disk.leave(20_000)
    with pytest.raises(
        DiskFullError, match=r"state\.ckpt could not be written, because the disk"
    ):
        checkpoint.save({"weights": torch.zeros(1_000_000)})
    assert tree(small_disk.mount) == []
