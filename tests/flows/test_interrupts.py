from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.make import make_recipe

SLOW = pytest.mark.slow
WORKER = ("--set", "compute.workers=1")
ENDLESS = (*WORKER, "--set", "training.epochs=5000", "--set", "training.patience=5000")
_PATIENCE_S = 180.0  # machines that run tests are busy


def _hear_hangups() -> None:
    """Undo what nohup did to the tests themselves."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def started(
    *arguments: str, until: str, environment: Mapping[str, str] = os.environ
) -> Iterator[subprocess.Popen[str]]:
    """Start a command as a terminal does, in a group of its own, and wait for a line."""
    command = [sys.executable, "-m", "flows.cli", *arguments]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_hear_hangups,
        env={**environment, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if until in line:
                break
        yield process
    finally:
        process.kill()
        process.communicate()


def group_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """List what a command has started, and what that has started."""
    family: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return family


def all_gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=_PATIENCE_S)[1]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=SLOW),
        pytest.param(signal.SIGHUP, 143, marks=SLOW),
    ],
)
def test_a_training_that_is_stopped_says_so_in_a_sentence_and_leaves_nothing_running(
    store: Path, number: signal.Signals, code: int
) -> None:
    recipe = str(store / "recipe.yaml")
    with started("train", recipe, *ENDLESS, until="epoch 1/5000") as process:
        family = group_of(process)
        assert len(family) >= 2  # not trivial: a worker, and what looks after it
        os.killpg(process.pid, number)  # as a terminal does: to all of them
        _, said = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == code
    assert said.splitlines()[-2:] == [
        "stopped: the training is kept up to its last saved step",
        f"to go on: cli.py train {recipe} {' '.join(ENDLESS)}",
    ]
    assert "Traceback" not in said
    assert all_gone(family)
    assert list((store / "run/training/small-rain").glob("state.ckpt"))


@pytest.mark.parametrize(
    "command",
    [pytest.param(c, marks=SLOW) for c in ("ingest", "evaluate", "forecast", "importance")],
)
def test_every_command_can_be_stopped_as_it_begins_to_compute(
    store: Path, command: str
) -> None:
    recipe = str(store / "recipe.yaml")
    if command == "ingest":
        shutil.rmtree(store / "run/cube.zarr")
    with started(command, recipe, *WORKER, until="computing on") as process:
        family = group_of(process)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 130
    assert "stopped: " in said
    assert f"to go on: cli.py {command}" in said
    assert "Traceback" not in said
    assert all_gone(family)


def test_a_command_that_is_killed_leaves_no_process_behind(store: Path) -> None:
    with started(
        "train", str(store / "recipe.yaml"), *ENDLESS, until="epoch 1/5000"
    ) as process:
        family = group_of(process)
        assert len(family) >= 2
        process.kill()
        assert all_gone(family)


@pytest.mark.parametrize(("before", "code"), [("SIG_IGN", 0), ("SIG_DFL", 143)])
def test_a_command_under_nohup_outlives_its_terminal(before: str, code: int) -> None:
    script = (
        "import os, signal; from flows.launch import handle_interrupts\n"
        f"signal.signal(signal.SIGHUP, signal.{before})\n"
        "with handle_interrupts('nothing'):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == code


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_server_that_is_stopped_as_it_starts_says_so_and_leaves_nothing_running(
    store: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    homes = {"PREFECT_HOME": str(tmp_path / "user"), "CUBECAST_HOME": str(tmp_path / "home")}
    command = ("up", str(store / "recipe.yaml"), "--port", "0")
    with started(*command, until="applying", environment=kept | homes) as process:
        family = group_of(process)
        assert len(family) >= 2  # not trivial: server and worker
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == code
    assert said.splitlines()[-2:] == [
        "stopped: no server runs; its database and logs are kept",
        f"to go on: cli.py {' '.join(command)}",
    ]
    assert "Traceback" not in said
    assert all_gone(family)
    assert not (tmp_path / "home/server.json").exists()


SET = ("RECIPE", "--set")
FRAMES = "archive.variables.rain"
HEAVY = {"torch", "prefect", "distributed", "zarr"}
NOT_LIGHT = HEAVY | {"dask", "xarray"}  # grids and units import them
EARLY = [
    (("train", *SET, "training.epoch=2"), "did you mean 'epochs'?", NOT_LIGHT),
    (("train", "RECIPE", "--root", "RECIPE"), "is a file, so nothing could be", NOT_LIGHT),
    (("verify", "RECIPE", "--sample", "0"), "sample=0 is no share of the files", NOT_LIGHT),
    (("verify", "nowhere"), "nowhere does not exist, so nothing was verified", NOT_LIGHT),
    (("ingest", *SET, "archive.root=nowhere"), "nowhere is no folder, so it holds no", HEAVY),
    (("check", *SET, f"{FRAMES}.files=x{{time:%Y}}"), "rain: no file fits 'x{time:%Y}'", HEAVY),
    (("check", *SET, f"{FRAMES}.units=bananas"), "units 'bananas' hold the unknown", HEAVY),
]


@pytest.mark.parametrize(("words", "said", "unwanted"), EARLY)
def test_a_mistake_is_told_before_heavy_libraries_are_imported(
    tmp_path: Path, words: tuple[str, ...], said: str, unwanted: set[str]
) -> None:
    recipe = str(make_recipe(tmp_path))
    given = ["cubecast", *(recipe if word == "RECIPE" else word for word in words)]
    script = (
        "import sys; from flows.cli import main\n"
        f"sys.argv = {given}\n"
        "try:\n    main()\n"
        "except SystemExit as left:\n"
        f"    heavy = {unwanted} & set(sys.modules)\n"
        "    sys.exit(f'imported {heavy}' if heavy else left.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert said in " ".join(done.stderr.split())
    assert "imported" not in done.stderr


def test_without_a_server_a_command_starts_none(store: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "flows.cli"]
    done = subprocess.run(
        [*command, "ingest", str(store / "recipe.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "prefect.server.api.server" not in done.stderr
