"""A flow that is killed at any instant leaves what was published, and nothing that stays."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stores.clean import clean
from stores.cube import Cube
from stores.errors import CorruptError
from stores.retention import RetentionPolicy
from stores.verify import verify
from stores.windows import Window
from tests.make import SHAPE
from tests.make_flow import INIT, recipe_of, tree

N_KILLS = 6
_PATIENCE_S = 180.0
SCRIPT = """
import sys
from flows.forecast import forecast
from flows.ingest import ingest
from flows.train import train
flow, recipe, root, init = sys.argv[1:]
if __name__ == "__main__":
    print("begun", flush=True)
    asked = {"root": root} | ({"init": init} if flow == "forecast" else {})
    {"ingest": ingest, "train": train, "forecast": forecast}[flow].fn(recipe, **asked)
"""
BEFORE = {
    "ingest": (),
    "train": ("cube.zarr", "cube.inputs"),
    "forecast": ("cube.zarr", "cube.inputs", "models"),
}


def begin(store: Path, root: Path, flow: str) -> None:
    """Copy what a flow begins with."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name in BEFORE[flow]:
        shutil.copytree(store / "run" / name, root / name)


def start(store: Path, root: Path, flow: str) -> subprocess.Popen[str]:
    """Start a flow in a process of its own, and wait until it begins."""
    command = [sys.executable, "-c", SCRIPT, flow, recipe_of(store), str(root), INIT]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "begun"
    return process


def count_paths(root: Path) -> int:
    """Count what is there, while it comes and goes."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(root))


def kill_after(process: subprocess.Popen[str], root: Path, n_paths: int) -> bool:
    """Kill a flow once so many paths are there; tell whether it was in time."""
    family = psutil.Process(process.pid).children(recursive=True)
    while process.poll() is None and count_paths(root) < n_paths:
        time.sleep(0.002)
    process.kill()
    process.communicate(timeout=_PATIENCE_S)
    assert not psutil.wait_procs(family, timeout=_PATIENCE_S)[1]
    return process.returncode != 0


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 0


def left_in(root: Path) -> list[str]:
    """List what is there, without the names that a run makes up."""
    return [name for name in tree(root) if "events.out.tfevents" not in name]


def check_readable(root: Path) -> None:
    """See that what readers find is whole."""
    try:
        cube = Cube.open(root / "cube.zarr")
    except CorruptError:
        assert not (root / "cube.zarr").exists()
    else:
        assert len(cube.read("rain", Window.from_shape(SHAPE))) == 96
    if (root / "issues").exists() and list((root / "issues").iterdir()):
        # The catalog of a publication that was cut short follows with the next one.
        assert [found for found in verify(root) if "catalog" not in found] == []
    for bundle in (root / "models").glob("small-rain-*"):
        assert verify(bundle) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("flow", BEFORE)
def test_a_flow_that_is_killed_leaves_nothing_that_its_rerun_and_a_cleaning_do_not_remove(
    trained: Path, tmp_path: Path, flow: str
) -> None:
    root = tmp_path / "run"
    begin(trained, root, flow)
    n_before = count_paths(root)
    finish(start(trained, root, flow))
    calm = left_in(root)
    rng = random.Random(0)
    n_killed = 0
    seen = set()
    for _ in range(N_KILLS):
        begin(trained, root, flow)
        n_paths = rng.randint(n_before + 1, len(calm))
        n_killed += kill_after(start(trained, root, flow), root, n_paths)
        seen.add(len(left_in(root)))
        check_readable(root)
        finish(start(trained, root, flow))
        clean(root, RetentionPolicy(min_age_s=0))
        assert left_in(root) == calm
    assert n_killed >= N_KILLS - 2
    assert len(seen) > 2  # not trivial: they died at different places
