"""What comes after the training part changes neither statistics nor weights nor forecasts."""

from pathlib import Path

import numpy as np
import rasterio

from pipeline.executors import SerialExecutor
from pipeline.memory import WorkerPool
from pipeline.recipes import load_recipe
from pipeline.rollout.forecaster import open_forecaster
from pipeline.rollout.prepare import build_plan, build_request
from pipeline.specs import build_rollout_spec, build_training_spec
from pipeline.training.bundle import train_bundle
from stores.array_types import Float32Array
from stores.bundle import Bundle
from stores.cube import Cube
from stores.grid import read_grid
from stores.times import Time
from tests.make import ingest, make_archive, make_recipe, write_tiff

TRAINING = {"epochs": 2, "lr": 0.02}


def poison(archive: Path, after: str) -> int:
    """Replace every frame after a date with noise; the sea stays sea."""
    rng, n_poisoned = np.random.default_rng(9), 0
    for path in sorted((archive / "rain").glob("*.tif")):
        if path.stem.removeprefix("rain_").replace(".", "-") <= after:
            continue
        with rasterio.open(path) as raster:
            values, nodata = raster.read(1), raster.nodata
        noise = rng.uniform(0, 900, values.shape).astype(np.float32)
        values = np.where(values == nodata, values, noise)
        write_tiff(path, values, grid=read_grid(path), nodata=nodata)
        n_poisoned += 1
    return n_poisoned


def train(folder: Path, *, poisoned_after: str | None) -> tuple[Bundle, Cube]:
    archive = make_archive(folder / "archive")
    if poisoned_after:
        assert poison(archive, poisoned_after) > 10
    recipe = load_recipe(make_recipe(folder, training=TRAINING))
    ingest(recipe, folder / "cube.zarr")
    folders = (folder / "models", folder / "logs")
    bundle = train_bundle(
        build_training_spec(recipe),
        Cube.open(folder / "cube.zarr"),
        folders,
        executor=SerialExecutor(),
    )
    return bundle, Cube.open(folder / "cube.zarr")


def forecast(folder: Path, bundle: Bundle, cube: Cube, init: str) -> tuple[Float32Array, Time]:
    recipe = load_recipe(folder / "recipe.yaml")
    request = build_request(build_rollout_spec(recipe), [bundle], cube, init=init, leads=None)
    tiles = build_plan(
        build_rollout_spec(recipe), bundle, cube, 4, WorkerPool(1, 10**9), one_block=True
    ).tiles
    return open_forecaster((bundle.path,), cube.path, "cpu").forecast_physical(
        tiles[0], request
    )[0], request.init


def test_noise_after_the_training_part_leaves_statistics_and_the_domain_alone(
    tmp_path: Path,
) -> None:
    clean, _ = train(tmp_path / "clean", poisoned_after=None)
    dirty, _ = train(tmp_path / "dirty", poisoned_after="2004-12")
    assert clean.description["stack"] == dirty.description["stack"]
    for name in ("domain", "climatology"):
        chunks = sorted((clean.path / "fields.zarr" / name).rglob("c/**/*"))
        assert chunks
        for chunk in filter(Path.is_file, chunks):
            other = dirty.path / chunk.relative_to(clean.path)
            assert chunk.read_bytes() == other.read_bytes()


def test_noise_after_the_validation_part_leaves_the_weights_alone(tmp_path: Path) -> None:
    clean, _ = train(tmp_path / "clean", poisoned_after=None)
    dirty, _ = train(tmp_path / "dirty", poisoned_after="2005-12")
    assert clean.description["cube_version"] != dirty.description["cube_version"]
    weights, others = clean.load_weights(), dirty.load_weights()
    assert any(weight.any() for weight in weights.values())
    for name, weight in weights.items():
        np.testing.assert_array_equal(weight, others[name])


def test_noise_after_the_init_leaves_the_forecast_alone(tmp_path: Path) -> None:
    clean, cube = train(tmp_path / "clean", poisoned_after=None)
    _, dirty_cube = train(tmp_path / "dirty", poisoned_after="2006-06")
    expected, init = forecast(tmp_path / "clean", clean, cube, "2006-06")
    found, _ = forecast(tmp_path / "dirty", clean, dirty_cube, "2006-06")
    later, _ = forecast(tmp_path / "dirty", clean, dirty_cube, "2006-09")
    truth = forecast(tmp_path / "clean", clean, cube, "2006-09")[0]
    assert np.nanmax(np.abs(later - truth)) > 0.1
    np.testing.assert_array_equal(found, expected)
    assert cube.step.label(init) == "2006-06"
