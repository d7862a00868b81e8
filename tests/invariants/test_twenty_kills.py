"""Twenty random kills of workers and of the flow during a rollout leave twenty equal issues."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.forecast import forecast
from flows.ingest import ingest
from flows.train import train
from stores.manifest import read_manifest
from tests.make import make_recipe

INIT, N_KILLS = "2006-12", 20
ROLLOUT = {"history": 3, "leads": 4, "tile_px": 5, "block_leads": 2}
SCRIPT = f"""
import sys
from flows.forecast import forecast
if __name__ == "__main__":  # workers import this file again
    forecast.fn(sys.argv[1], ["compute.workers=2"], init={INIT!r})
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    recipe = str(make_recipe(folder, rollout=ROLLOUT, training={"epochs": 1}))
    ingest.fn(recipe)
    train.fn(recipe)
    (folder / "script.py").write_text(SCRIPT)
    return folder


def start(store: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(store / "script.py"), str(store / "recipe.yaml")]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet)


def n_done(store: Path) -> int:
    return len(list((store / "run" / ".staging").glob("*/ledger/*.json")))


def kill_when(store: Path, tiles: int, victim: str) -> bool:
    """Run a forecast and kill it, or one of its workers, after some tiles; tell if it died."""
    process = start(store)
    while process.poll() is None and n_done(store) < tiles:
        time.sleep(0.005)
    if process.poll() is not None:
        return False
    if victim == "flow":
        process.kill()
    else:
        children = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        os.kill(random.choice(workers).pid, signal.SIGKILL)
    process.wait(timeout=120)
    return True


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_random_kills_leave_twenty_equal_issues(store: Path) -> None:
    calm = Path(forecast.fn(str(store / "recipe.yaml"), init=INIT))
    expected = read_manifest(calm)["files"]
    random.seed(0)
    n_killed = 0
    for round_ in range(N_KILLS):
        shutil.rmtree(store / "run" / "issues")
        n_killed += kill_when(store, random.randint(1, 60), ("flow", "worker")[round_ % 2])
        issue = Path(forecast.fn(str(store / "recipe.yaml"), init=INIT))
        assert read_manifest(issue)["files"] == expected
    assert n_killed >= N_KILLS - 2
