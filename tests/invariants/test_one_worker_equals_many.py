"""Real worker processes give what this process gives."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows.runtime import open_executor
from pipeline.executors import Executor, SerialExecutor
from pipeline.memory import WorkerPool
from pipeline.recipes import ComputeRecipe, Recipe, load_recipe
from pipeline.rollout.forecaster import open_forecaster
from pipeline.rollout.hindcast import hindcast, plan_hindcast_tiles
from pipeline.rollout.permutation_importance import ImportanceSpec, measure_importance
from pipeline.rollout.prepare import build_plan, build_request
from pipeline.specs import build_hindcast_spec, build_rollout_spec, build_training_spec
from pipeline.streams.batch import Batch
from pipeline.streams.loader import make_loader
from pipeline.streams.samples import RolloutSpan
from pipeline.training.bundle import train_bundle
from pipeline.training.training_plan import plan_training
from stores.bundle import Bundle
from stores.cube import Cube
from stores.progress import no_progress
from stores.times import parse_time
from tests.make import make_cube


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    compute = ComputeRecipe(workers=2, threads=1, memory_gb=1.5, device="cpu")
    with open_executor(compute) as executor:
        yield executor


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("made")
    make_cube(folder, target={"transform": ["anomaly", "zscore"]})
    return load_recipe(folder / "recipe.yaml")


def train(recipe: Recipe, folder: Path, executor: Executor) -> Bundle:
    folders = (folder / "models", folder / "logs")
    return train_bundle(
        build_training_spec(recipe),
        Cube.open(recipe.root / "cube.zarr"),
        folders,
        executor=executor,
    )


def test_training_on_two_workers_gives_the_weights_of_one_process(
    recipe: Recipe, workers: Executor, tmp_path: Path
) -> None:
    assert workers.n_workers == 2
    alone = train(recipe, tmp_path / "alone", SerialExecutor())
    spread = train(recipe, tmp_path / "spread", workers)
    assert alone.digest == spread.digest
    assert any(weight.any() for weight in alone.load_weights().values())


def test_batches_arrive_in_the_same_order_from_two_workers(
    recipe: Recipe, workers: Executor, tmp_path: Path
) -> None:
    bundle = train(recipe, tmp_path, SerialExecutor())
    source = open_forecaster((bundle.path,), recipe.root / "cube.zarr", "cpu").source
    samples = plan_training(build_training_spec(recipe), source).train
    groups = [samples[i : i + 4] for i in range(0, 32, 4)]
    load = make_loader(source, RolloutSpan(recipe.rollout.history, recipe.training.leads))
    alone = [Batch(*batch) for batch in SerialExecutor().map(load, groups)]
    spread = [Batch(*batch) for batch in workers.map(load, groups)]
    assert len(alone) == len(spread) == 8
    for one, other in zip(alone, spread, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)


def test_scores_from_two_workers_are_those_of_one_process(
    recipe: Recipe, workers: Executor, tmp_path: Path
) -> None:
    cube, bundle = (
        Cube.open(recipe.root / "cube.zarr"),
        train(recipe, tmp_path, SerialExecutor()),
    )
    request = build_request(
        build_rollout_spec(recipe), [bundle], cube, init="2006-06", leads=None
    )
    small = recipe.replace(rollout=recipe.rollout.replace(tile_px=9))
    tiles = build_plan(
        build_rollout_spec(small), bundle, cube, 4, WorkerPool(1, 10**9), one_block=True
    ).tiles
    assert len(tiles) > 4
    inits = [parse_time("2006-06"), parse_time("2006-07")]
    cases = plan_hindcast_tiles(request, inits, tiles, "test")
    alone = list(hindcast(request, cases, executor=SerialExecutor()))
    spread = list(hindcast(request, cases, executor=workers))
    for scored, other in zip(alone, spread, strict=True):
        for method, found in scored.errors.items():
            np.testing.assert_allclose(found.mse, other.errors[method].mse, rtol=1e-6)


@pytest.mark.slow
def test_importances_from_two_workers_are_those_of_one_process(
    recipe: Recipe, workers: Executor, tmp_path: Path
) -> None:
    cube, bundle = (
        Cube.open(recipe.root / "cube.zarr"),
        train(recipe, tmp_path, SerialExecutor()),
    )
    request = build_request(
        build_rollout_spec(recipe), [bundle], cube, init="2005-04", leads=None
    )
    small = recipe.replace(rollout=recipe.rollout.replace(tile_px=16))
    tiles = build_plan(
        build_rollout_spec(small), bundle, cube, 4, WorkerPool(1, 10**9), one_block=True
    ).tiles
    assert len(tiles) == 4
    alone, spread = (
        measure_importance(
            build_hindcast_spec(recipe, "validation"),
            request,
            tiles,
            ImportanceSpec("validation", repeats=2),
            executor=where,
            on_progress=no_progress,
        )
        for where in (SerialExecutor(), workers)
    )
    assert (alone.table["importance"] != 0).all()
    pd.testing.assert_frame_equal(spread.table, alone.table)
