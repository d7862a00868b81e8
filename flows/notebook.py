"""The job of a recipe from Python, for notebooks: flows as plain functions, no server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from flows.evaluate import evaluate
from flows.forecast import forecast
from flows.ingest import ingest
from flows.paths import scores_path
from flows.recipe_store import find_bundle, open_cube
from flows.resolve import open_recipe
from flows.steps.issue_summary import REPORT
from flows.steps.parts import TEST_PART
from flows.train import train
from pipeline.recipes import Recipe
from pipeline.rollout.evaluate import Evaluation
from pipeline.rollout.prepare import build_request
from pipeline.rollout.score_key import ScoreKey
from pipeline.specs import build_hindcast_spec, build_rollout_spec
from pipeline.specs.trained import open_further, with_trained_dates
from stores.issue import FORECAST
from stores.published import published_issues


@dataclass(frozen=True, slots=True)
class PublishedIssue:
    """One published forecast."""

    path: Path

    @property
    def report(self) -> Path:
        """Return its page with maps, errors and skill."""
        return self.path / REPORT

    def open(self) -> xr.Dataset:
        """Open the forecast (time, y, x); values are read when they are needed."""
        forecast: xr.Dataset = xr.open_zarr(self.path / FORECAST)
        return forecast


@dataclass(frozen=True, slots=True)
class Product:
    """A recipe with the caller's changes, and what is done with it."""

    name: str
    overrides: tuple[str, ...]
    root: str | None

    @property
    def recipe(self) -> Recipe:
        """Read and check the recipe, which may have been edited meanwhile."""
        return open_recipe(*self._flow_arguments)

    def ingest(self) -> str:
        """Bring the cube up to date with its archive; return its version."""
        return ingest.fn(*self._flow_arguments)

    def train(self) -> Path:
        """Train a model on the cube; return the folder of its bundle."""
        return Path(train.fn(*self._flow_arguments))

    def evaluate(self, bundle: str | None = None) -> pd.DataFrame:
        """Score a model on the test part: one row for each method and lead."""
        evaluate.fn(*self._flow_arguments, bundle=bundle)
        return self.scores(bundle)

    def forecast(
        self, init: str | None = None, leads: int | None = None, bundle: str | None = None
    ) -> PublishedIssue:
        """Publish a forecast; the same request twice is one issue.

        Args:
            init: last observed time that the forecast knows; the newest by default.
            leads: steps ahead; those of the recipe by default.
            bundle: name of a model; the current one by default.
        """
        path = forecast.fn(*self._flow_arguments, init=init, leads=leads, bundle=bundle)
        return PublishedIssue(Path(path))

    def issues(self) -> list[PublishedIssue]:
        """List what is published, by init and revision."""
        recipe = self.recipe
        found = published_issues(recipe.root).get(recipe.name, [])
        return [PublishedIssue(issue.path) for issue in found]

    def scores(self, bundle: str | None = None) -> pd.DataFrame:
        """Open the scores of the last evaluation with these settings.

        Raises:
            LookupError: there was none.
        """
        recipe = self.recipe
        cube = open_cube(recipe)
        model = find_bundle(recipe, bundle)
        recipe = with_trained_dates(recipe, model, cube)
        models = [model, *open_further(recipe, model)]
        request = build_request(build_rollout_spec(recipe), models, cube, init=None, leads=None)
        key = ScoreKey.of(build_hindcast_spec(recipe, TEST_PART), request)
        found = Evaluation.load(scores_path(recipe, model.path), key, TEST_PART)
        if found is None:
            raise LookupError(
                f"{model.path.name} was never scored with the settings of {recipe.name}, so "
                "there is no table to open; call evaluate()"
            )
        return found.table

    @property
    def _flow_arguments(self) -> tuple[str, list[str], str | None]:
        """Return the arguments of every flow."""
        return self.name, list(self.overrides), self.root


def open_product(
    recipe: str | Path,
    overrides: Mapping[str, Any] | None = None,
    root: str | Path | None = None,
) -> Product:
    """Open a recipe by its path, or by the name of a packaged one.

    Args:
        recipe: as for the command ``cubecast``.
        overrides: values for this product only, as in ``{"training.epochs": 2}``.
        root: folder of cube, models and issues instead of the recipe's.

    Raises:
        RecipeError: the recipe cannot be read, or a value is refused.
    """
    written = tuple(
        f"{key}={json.dumps(value, default=str, ensure_ascii=False)}"
        for key, value in (overrides or {}).items()
    )
    product = Product(str(recipe), written, None if root is None else str(root))
    _ = product.recipe  # a mistake is told at once
    return product
