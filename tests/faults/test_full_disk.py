"""A disk that is full says so, whatever it stops; with room again, the same command goes on."""

from __future__ import annotations

import errno
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from flows.check import check
from flows.forecast import forecast
from flows.ingest import ingest
from flows.recipe_store import open_cube
from flows.steps.disk_space import forecast_space
from flows.train import train
from pipeline.recipes import load_recipe
from pipeline.training.checkpoint import Checkpoint
from stores.disk_space import SpaceRequirement, reraise_disk_full
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


WRITE_COG = """
import sys
from pathlib import Path
from stores.cog import CogMetadata, write_cog
from tests.stores.test_cog import cut, make_frame, make_grid
shape = 700, 900
write_cog(Path(sys.argv[1]), cut(make_frame(shape)), make_grid(shape), CogMetadata("a", "1"))
"""


@pytest.mark.parametrize("n_bytes", [600_000, 4_500_000])
def test_a_cog_that_fills_the_disk_says_it_in_one_sentence(
    small_disk: SmallDisk, n_bytes: int
) -> None:
    small_disk.leave(n_bytes)
    command = [sys.executable, "-c", WRITE_COG, str(small_disk.mount / "a.tif")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    *_, last = done.stderr.strip().splitlines()
    assert "_tiffWriteProc" not in done.stderr  # libtiff's own, for the terminal
    assert re.search(
        r"DiskFullError: \S+a\.tif could not be written, because the disk at", last
    )
    assert last.count("could not be written") == 1
    assert last.endswith("and run the same command again")
    assert tree(small_disk.mount) == []


def test_a_full_disk_is_told_in_the_words_of_the_system_whatever_was_said_of_it(
    tmp_path: Path,
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "a.bin")
    said = r" \(No space left on device\), so the work has"
    with pytest.raises(DiskFullError, match=said), reraise_disk_full(tmp_path):
        raise RuntimeError("a.bin could not be kept, so nothing is left there") from full


def test_a_forecast_needs_room_for_the_frame_of_which_a_cog_is_made_and_for_its_report(
    trained: Path,
) -> None:
    recipe = load_recipe(Path(recipe_of(trained)))
    cube = open_cube(recipe)

    def needs(**outputs: bool) -> SpaceRequirement:
        changed = recipe.replace(outputs=recipe.outputs.replace(**outputs))
        return forecast_space(changed, (cube.grid.height, cube.grid.width), cube)

    plain, cog = needs(cog=False, report=False), needs(cog=True, report=False)
    assert cog.estimate() > plain.estimate() + 512 * 512 * 4  # blocks of 512 px are whole
    assert cog.max_bytes > plain.max_bytes + cog.estimate() - plain.estimate()
    report = needs(cog=False, report=True)
    assert report.estimate() - plain.estimate() >= 200_000
    assert report.max_bytes - plain.max_bytes >= 2_500_000


def test_a_state_that_does_not_fit_names_its_file_and_disk(small_disk: SmallDisk) -> None:
    checkpoint = Checkpoint(small_disk.mount, {"recipe": "r", "cube": "c"})
    small_disk.leave(20_000)
    with pytest.raises(
        DiskFullError, match=r"state\.ckpt could not be written, because the disk"
    ):
        checkpoint.save({"weights": torch.zeros(1_000_000)})
    assert tree(small_disk.mount) == []
