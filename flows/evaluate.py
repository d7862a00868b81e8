"""Flow: score a model on the test part."""

from __future__ import annotations

import logging

from flows.recipe_flow import recipe_flow
from flows.recipe_store import find_bundle, open_cube, warn_unused_overrides
from flows.resolve import open_writable_recipe
from flows.runtime import open_executor
from flows.steps import scores
from flows.steps.verify_frames import check_all_frames
from pipeline.specs.trained import check_split, with_trained_dates

log = logging.getLogger(__name__)


@recipe_flow("evaluate")
def evaluate(
    recipe: str,
    overrides: list[str] | None = None,
    root: str | None = None,
    bundle: str | None = None,
) -> str:
    """Forecast the test part from every init, and score each lead against simple forecasts.

    Returns:
        The table of scores.
    """
    resolved = open_writable_recipe(recipe, overrides, root)
    cube = open_cube(resolved)
    model = find_bundle(resolved, bundle)
    resolved = with_trained_dates(resolved, model, cube)
    warn_unused_overrides(resolved, model, overrides)
    check_split(resolved, model, cube.step)
    check_all_frames(resolved, cube)
    with open_executor(resolved.compute) as executor:
        margins = scores.calibrate(resolved, cube, model, executor)
        found = scores.score(resolved, cube, model, executor, margins)
    table = scores.save_scores(resolved, model, found)
    scores.show_scores(found)
    log.info("scores of %s: %s", model.path.name, table)
    return table
