from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.forecast import forecast
from flows.verify import verify
from tests.make import make_recipe

COMMANDS = (
    "demo",
    "check",
    "ingest",
    "train",
    "forecast",
    "evaluate",
    "importance",
    "verify",
    "pictures",
    "clean",
    "up",
    "down",
    "deploy",
    "deployments",
    "schema",
)


def cubecast(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_help_answers_at_once_and_lists_every_command() -> None:
    start = time.monotonic()
    done = cubecast("--help")
    assert time.monotonic() - start < 5  # 0.2 s where nothing else runs
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)
    script = "import sys, flows.cli; sys.exit(bool({'torch', 'prefect'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_an_ingest_imports_no_torch() -> None:
    script = "import sys, flows.ingest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_shows_how_to_use_it(command: str) -> None:
    done = cubecast(command, "--help")
    assert done.returncode == 0
    assert f"cubecast {command}" in done.stdout


def test_version_is_that_of_the_installed_package() -> None:
    from importlib.metadata import version

    assert cubecast("--version").stdout.strip() == version("cubecast")


def test_check_prints_the_plan_of_an_overridden_recipe_and_writes_nothing(
    tmp_path: Path,
) -> None:
    recipe = make_recipe(tmp_path)
    (tmp_path / "archive").rename(tmp_path / "moved")
    before = sorted(tmp_path.rglob("*"))
    overrides = ("--set", "rollout.tile_px=16", "--set", "archive.root=moved")
    done = cubecast("check", str(recipe), *overrides, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for told in ("rain", "96", "4 of 16 px", "98 frames new", "nothing was written"):
        assert told in done.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_key_is_refused_with_the_nearest_one_and_no_traceback(
    tmp_path: Path,
) -> None:
    recipe = make_recipe(tmp_path)
    done = cubecast("check", str(recipe), "--set", "training.epoch=2")
    assert done.returncode == 1
    assert "did you mean 'epochs'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_sweep_over_an_unknown_key_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path)
    done = cubecast("train", str(recipe), "--sweep", "training.lrr=1e-3,1e-4")
    assert done.returncode == 1
    assert "did you mean 'lr'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_unknown_recipe_names_the_nearest_and_debugging_shows_where() -> None:
    done = cubecast("--debug", "check", "rainfall-jawa")
    assert done.returncode == 1
    assert "did you mean 'rainfall-java'?" in done.stderr
    assert "Traceback" in done.stderr


def test_wrong_usage_is_another_exit_code() -> None:
    done = cubecast("forecast", "--leads", "many")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_verify_passes_a_sound_issue_and_names_what_was_changed(store: Path) -> None:
    issue = Path(forecast.fn(str(store / "recipe.yaml"), init="2006-12"))
    assert verify([issue])
    chunks = issue / "forecast.zarr/rain/c"
    altered = bytearray((chunks / "2/0/0").read_bytes())
    altered[len(altered) // 2] ^= 1
    (chunks / "2/0/0").write_bytes(altered)
    (chunks / "1/0/0").unlink()
    done = cubecast("verify", str(issue))
    assert done.returncode == 1
    assert "rain/c/2/0/0 was altered" in done.stdout
    assert "rain/c/1/0/0 is missing" in done.stdout


def test_schema_is_plain_json() -> None:
    import json

    assert json.loads(cubecast("schema").stdout)["title"] == "Recipe"
