"""Builders of trained models and of forecasts rolled out through the stores; nothing mocked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.executors import Executor, SerialExecutor
from pipeline.memory import WorkerPool
from pipeline.metrics.calibration import Calibration
from pipeline.recipes import Recipe, load_recipe
from pipeline.rollout.engine import roll_out
from pipeline.rollout.prepare import build_plan, build_request
from pipeline.rollout.products import list_products
from pipeline.rollout.request import ForecastRequest
from pipeline.rollout.rollout_plan import RolloutPlan
from pipeline.specs import build_rollout_spec, build_training_spec
from pipeline.specs.trained import open_further
from pipeline.training.bundle import train_bundle
from stores.array_types import Float32Array
from stores.bundle import Bundle
from stores.cube import Cube
from stores.forecast import Forecast, commit_forecast, create_forecast, open_forecast
from stores.forecast_template import ForecastTemplate, ForecastVariable
from stores.issue import FORECAST, IssueKey, open_stage
from tests.make import make_cube

WORKERS = WorkerPool(1, 10**9)
INIT, LEADS = "2006-06", 4


class Made(NamedTuple):
    """A recipe, its cube, and a model that was really trained on it."""

    recipe: Recipe
    cube: Cube
    bundle: Bundle

    def asking(self, **rollout: Any) -> Made:
        """Ask the same model for another rollout."""
        changed = self.recipe.rollout.replace(**rollout)
        return self._replace(recipe=self.recipe.replace(rollout=changed))


def make_model(folder: Path, **overrides: Any) -> Made:
    """Ingest the made archive and train on it for a moment."""
    training = {"epochs": 3, "lr": 0.02}
    cube = make_cube(folder, **{"training": training} | overrides)
    recipe = load_recipe(folder / "recipe.yaml")
    spec, folders = build_training_spec(recipe), (folder / "models", folder / "logs")
    bundle = train_bundle(spec, Cube.open(cube), folders, executor=SerialExecutor())
    return Made(recipe, Cube.open(cube), bundle)


def ask(
    made: Made,
    *,
    init: str | None = None,
    leads: int | None = None,
    calibration: Calibration | None = None,
) -> ForecastRequest:
    """Build the request for one forecast."""
    recipe, cube, bundle = made
    bundles = [bundle, *open_further(recipe, bundle)]
    return build_request(
        build_rollout_spec(recipe),
        bundles,
        cube,
        init=init,
        leads=leads,
        calibration=calibration,
    )


def plan(made: Made, core: int, block: int = LEADS) -> RolloutPlan:
    """Plan tiles and blocks of four leads."""
    asked = made.asking(tile_px=core, block_leads=block)
    return build_plan(build_rollout_spec(asked.recipe), made.bundle, made.cube, LEADS, WORKERS)


def stage(
    made: Made, root: Path, tiles: RolloutPlan, request: ForecastRequest | None = None
) -> Path:
    """Stage an empty forecast."""
    recipe, cube, bundle = made
    request = request or ask(made, init=INIT)
    staged = open_stage(
        root,
        IssueKey(
            recipe.name, recipe.fingerprint(), (bundle.digest,), cube.version, INIT, LEADS
        ),
    )
    variables = tuple(
        ForecastVariable(f"{recipe.target.variable}{product.suffix}", "mm month-1")
        for product in list_products(request)
    )
    template = ForecastTemplate(
        cube.grid, variables, cube.step, request.init, LEADS, layout=tiles.layout
    )
    create_forecast(staged, template)
    return staged


def forecast(  # noqa: PLR0913  one argument a way to cut
    made: Made,
    root: Path,
    core: int,
    block: int = LEADS,
    *,
    batch: int = 1,
    executor: Executor | None = None,
    request: ForecastRequest | None = None,
) -> Forecast:
    """Roll a forecast out and commit it."""
    tiles, request = plan(made, core, block), request or ask(made, init=INIT)
    staged = stage(made, root, tiles, request)
    steps = roll_out(request, tiles, staged, executor=executor or SerialExecutor(), batch=batch)
    assert all(progress.total == tiles.n_tasks for progress in steps)
    commit_forecast(staged)
    return open_forecast(staged / FORECAST)


def frames(rolled: Forecast, variable: str = "rain") -> Float32Array:
    """Read all leads of a variable (leads, y, x)."""
    return np.stack([rolled.read(variable, lead) for lead in range(1, LEADS + 1)])
