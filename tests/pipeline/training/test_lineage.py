from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from pipeline.executors import SerialExecutor
from pipeline.recipes import load_recipe
from pipeline.specs import build_training_spec
from pipeline.training.bundle import train_bundle
from pipeline.training.lineage import code_digest, list_inputs
from stores.bundle import Bundle
from stores.cube import Cube
from tests.make import GRID, ingest, make_archive, make_cube, make_recipe, write_tiff

ROOT = Path(__file__).parents[3]


def train(folder: Path, overrides: tuple[str, ...] = ()) -> Bundle:
    cube = make_cube(folder, training={"epochs": 1, "patches_per_epoch": 8})
    recipe = load_recipe(folder / "recipe.yaml", overrides=overrides)
    return train_bundle(
        build_training_spec(recipe),
        Cube.open(cube),
        (folder / "models", folder / "logs"),
        executor=SerialExecutor(),
    )


def test_equal_trainings_in_other_folders_give_the_same_bundle(tmp_path: Path) -> None:
    first = train(tmp_path / "a")
    changes = ("training.runs=4", "training.checkpoint_minutes=0", "compute.memory_gb=2")
    assert train(tmp_path / "b", changes).digest == first.digest
    assert train(tmp_path / "c", ("training.seed=1",)).digest != first.digest


def test_a_bundle_names_the_inputs_of_its_cube(tmp_path: Path) -> None:
    bundle = train(tmp_path)
    cube = Cube.open(tmp_path / "run/cube.zarr")
    assert bundle.description["inputs"] == list_inputs(cube)
    rain = bundle.description["inputs"]["rain"]
    assert (rain["frames"], rain["first"][:7], rain["last"][:7]) == (96, "2000-01", "2007-12")
    assert bundle.description["code"] == code_digest()


def test_one_other_file_changes_the_digest_of_its_variable_alone(tmp_path: Path) -> None:
    described = []
    for name in ("a", "b"):
        archive = make_archive(tmp_path / name / "archive")
        if name == "b":
            write_tiff(archive / "rain/rain_2003.05.tif", np.ones(GRID.shape, "float32"))
        recipe = load_recipe(make_recipe(tmp_path / name))
        ingest(recipe, tmp_path / name / "cube.zarr")
        described.append(list_inputs(Cube.open(tmp_path / name / "cube.zarr")))
    first, second = described
    assert first["rain"]["digest"] != second["rain"]["digest"]
    assert {k: v for k, v in first.items() if k != "rain"} == {
        k: v for k, v in second.items() if k != "rain"
    }


def test_the_digest_of_the_code_knows_contents_and_no_folder(tmp_path: Path) -> None:
    for package in ("pipeline", "stores"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    assert digest_in(tmp_path) == code_digest()
    with (tmp_path / "pipeline/models/cells.py").open("a") as file:
        file.write("# changed\n")
    assert digest_in(tmp_path) != code_digest()


def digest_in(root: Path) -> str:
    script = "from pipeline.training.lineage import code_digest; print(code_digest())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(root)},
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
