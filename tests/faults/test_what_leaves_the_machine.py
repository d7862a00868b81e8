"""Nothing that a run is told in secret is written down, and no network is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.make import make_recipe
from tests.make_flow import INIT

pytestmark = pytest.mark.slow
CANARY = "AKIACANARY0123456789"
SECRETS = ("AWS_SECRET_ACCESS_KEY", "PREFECT_API_KEY", "WANDB_API_KEY", "MY_PASSWORD")
COMMANDS = (["ingest"], ["train"], ["evaluate"], ["forecast", "--init", INIT])


def run(words: list[str], recipe: Path, *before: str, **environment: str) -> str:
    """Run a command; give all that it printed."""
    command = [*before, sys.executable, "-m", "flows.cli", words[0], str(recipe), *words[1:]]
    done = subprocess.run(
        [*command, "--debug"],
        capture_output=True,
        env={**os.environ, **environment},
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_secrets_of_the_environment_stand_in_no_file_and_no_log(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path, training={"epochs": 1})
    secrets = dict.fromkeys(SECRETS, CANARY)
    for words in COMMANDS:
        assert CANARY not in run(words, recipe, **secrets)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 200
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []


def test_the_whole_job_runs_without_a_network(tmp_path: Path) -> None:
    alone = ("unshare", "-n", "--")
    can = subprocess.run([*alone, "true"], capture_output=True, check=False)
    if can.returncode:
        pytest.skip("a process cannot be cut off from the network here")
    recipe = make_recipe(tmp_path, training={"epochs": 1})
    for words in COMMANDS:
        run(words, recipe, *alone)
    assert list((tmp_path / "run/issues").glob("*/*/manifest.json"))
