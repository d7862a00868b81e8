"""Real worker processes give what this process gives."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows.runtime import spread_on
from pipeline.budget import Workers
from pipeline.recipes import ComputeRecipe, Recipe, load_recipe
from pipeline.rollout.forecaster import open_forecaster
from pipeline.rollout.hindcast import hindcast, plan_cases
from pipeline.rollout.importance import Trial, measure_importance
from pipeline.rollout.prepare import build_plan, build_request
from pipeline.specs import build_hindcast_spec, build_rollout_spec, build_training_spec
from pipeline.spread import InPlace, Spread
from pipeline.streams.batch import Batch
from pipeline.streams.loader import batch_loader
from pipeline.streams.samples import Span
from pipeline.training.bundle import train_bundle
from pipeline.training.plan import plan_training
from stores.bundle import Bundle
from stores.cube import Cube
from stores.progress import tell_nobody
from stores.times import parse_time
from tests.make import make_cube


@pytest.fixture(scope="module")
def workers() -> Iterator[Spread]:
    compute = ComputeRecipe(workers=2, threads=1, memory_gb=1.5, device="cpu")
    with spread_on(compute) as spread:
        yield spread


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("made")
    make_cube(folder, target={"transform": ["anomaly", "zscore"]})
    return load_recipe(folder / "recipe.yaml")


def train(recipe: Recipe, folder: Path, spread: Spread) -> Bundle:
    folders = (folder / "models", folder / "logs")
    return train_bundle(
        build_training_spec(recipe),
        Cube.open(recipe.root / "cube.zarr"),
        folders,
        spread=spread,
    )


def test_training_on_two_workers_gives_the_weights_of_one_process(
    recipe: Recipe, workers: Spread, tmp_path: Path
) -> None:
    assert workers.n_workers == 2
    alone = train(recipe, tmp_path / "alone", InPlace())
    spread = train(recipe, tmp_path / "spread", workers)
    assert alone.digest == spread.digest
    assert any(weight.any() for weight in alone.load_weights().values())


def test_batches_arrive_in_the_same_order_from_two_workers(
    recipe: Recipe, workers: Spread, tmp_path: Path
) -> None:
    bundle = train(recipe, tmp_path, InPlace())
    source = open_forecaster((bundle.path,), recipe.root / "cube.zarr", "cpu").source
    samples = plan_training(build_training_spec(recipe), source).train
    groups = [samples[i : i + 4] for i in range(0, 32, 4)]
    load = batch_loader(source, Span(recipe.rollout.history, recipe.training.leads))
    alone = [Batch(*batch) for batch in InPlace().ordered(load, groups)]
    spread = [Batch(*batch) for batch in workers.ordered(load, groups)]
    assert len(alone) == len(spread) == 8
    for one, other in zip(alone, spread, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)


def test_scores_from_two_workers_are_those_of_one_process(
    recipe: Recipe, workers: Spread, tmp_path: Path
) -> None:
    cube, bundle = Cube.open(recipe.root / "cube.zarr"), train(recipe, tmp_path, InPlace())
    request = build_request(
        build_rollout_spec(recipe), [bundle], cube, init="2006-06", leads=None
    )
    small = recipe.with_values(rollout=recipe.rollout.with_values(tile_px=9))
    tiles = build_plan(
        build_rollout_spec(small), bundle, cube, 4, Workers(1, 10**9), one_block=True
    ).tiles
    assert len(tiles) > 4
    inits = [parse_time("2006-06"), parse_time("2006-07")]
    cases = plan_cases(request, inits, tiles, "test")
    alone = list(hindcast(request, cases, spread=InPlace()))
    spread = list(hindcast(request, cases, spread=workers))
    for scored, other in zip(alone, spread, strict=True):
        for method, found in scored.errors.items():
            np.testing.assert_allclose(found.mse, other.errors[method].mse, rtol=1e-6)


@pytest.mark.slow
def test_importances_from_two_workers_are_those_of_one_process(
    recipe: Recipe, workers: Spread, tmp_path: Path
) -> None:
    cube, bundle = Cube.open(recipe.root / "cube.zarr"), train(recipe, tmp_path, InPlace())
    request = build_request(
        build_rollout_spec(recipe), [bundle], cube, init="2005-04", leads=None
    )
    small = recipe.with_values(rollout=recipe.rollout.with_values(tile_px=16))
    tiles = build_plan(
        build_rollout_spec(small), bundle, cube, 4, Workers(1, 10**9), one_block=True
    ).tiles
    assert len(tiles) == 4
    alone, spread = (
        measure_importance(
            build_hindcast_spec(recipe, "validation"),
            request,
            tiles,
            Trial("validation", repeats=2),
            spread=where,
            tell=tell_nobody,
        )
        for where in (InPlace(), workers)
    )
    assert (alone.table["importance"] != 0).all()
    pd.testing.assert_frame_equal(spread.table, alone.table)
