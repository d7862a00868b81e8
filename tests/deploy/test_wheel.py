from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = ("stores", "pipeline", "flows", "deploy", "samples")
TINY = (
    "training.epochs=1",
    "training.patches_per_epoch=8",
    "rollout.leads=3",
    "rollout.interval=null",
    "compute.workers=0",
    "compute.threads=1",
)
WHERE = "import deploy, flows, pipeline, samples, stores; print(flows.__file__)"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command as somebody without a checkout would, and give what it prints."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "110"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout in a copy, so that nothing built before gets into it."""
    source = folder / "source"
    for room in ROOMS:
        shutil.copytree(
            CHECKOUT / room, source / room, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    offline = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet")
    run(*pip, "wheel", *offline, "--wheel-dir", folder, source, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an empty environment that borrows the tested libraries.

    The ``.pth`` files of the borrowed folder are not read there, so an editable install of the
    checkout is out of reach.
    """
    folder = tmp_path_factory.mktemp("installed")
    wheel = build_wheel(folder)
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
    environment = folder / "venv"
    packages = next((environment / "lib").glob("python*/site-packages"))
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin/python")
    constraints = ("--constraint", CHECKOUT / "constraints.txt")
    offline = ("--no-deps", "--no-index", "--quiet")
    run(*pip, "install", *offline, *constraints, wheel, cwd=folder)
    return environment


def list_packaged(environment: Path) -> list[Path]:
    """List all files of the environment, with the time of their last change."""
    return sorted(path for path in environment.rglob("*") if path.name != "__pycache__")


@pytest.mark.timeout(600)  # 32 s of processor time; a busy machine takes its time
def test_without_a_checkout_the_demo_runs_from_an_empty_folder_and_writes_only_there(
    installed: Path, tmp_path: Path
) -> None:
    python, cubecast = installed / "bin/python", installed / "bin/cubecast"
    assert run(python, "-c", WHERE, cwd=tmp_path).startswith(str(installed))
    before = list_packaged(installed)
    told = run(cubecast, "check", "rainfall-java", cwd=tmp_path)
    assert "runs/rainfall-java/cube.zarr" in told
    assert list(tmp_path.iterdir()) == []
    run(cubecast, "demo", *(word for one in TINY for word in ("--set", one)), cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert (tmp_path / "demo/issues/rainfall-java/2018-09/report.html").exists()
    assert list_packaged(installed) == before
