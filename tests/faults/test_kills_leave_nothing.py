"""A flow that is killed at any instant leaves what was published, and nothing that stays."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from stores.clean import clean
from stores.cube import Cube
from stores.errors import CorruptError
from stores.leftovers import KeepPolicy
from stores.verify import verify
from stores.windows import Window
from tests.make import SHAPE
from tests.make_flow import INIT, recipe_of, tree

N_KILLS = 8
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


@dataclass(frozen=True)
class Calm:
    """A flow that nobody disturbed."""

    seconds: float
    left: list[str]


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
        assert len(cube.read("rain", Window.whole(SHAPE))) == 96
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
    process = start(trained, root, flow)
    began_s = time.monotonic()
    finish(process)
    calm = Calm(time.monotonic() - began_s, left_in(root))
    instants, n_killed, seen = random.Random(0), 0, set()
    for _ in range(N_KILLS):
        begin(trained, root, flow)
        process = start(trained, root, flow)
        family = psutil.Process(process.pid).children(recursive=True)
        time.sleep(instants.random() * calm.seconds)
        process.kill()
        process.communicate(timeout=_PATIENCE_S)
        n_killed += process.returncode != 0
        seen.add(len(left_in(root)))
        assert not psutil.wait_procs(family, timeout=_PATIENCE_S)[1]
        check_readable(root)
        finish(start(trained, root, flow))
        clean(root, KeepPolicy(older_than_s=0))
        assert left_in(root) == calm.left
    assert n_killed >= N_KILLS - 3
    assert len(seen) > 2  # not trivial: they died at different places
