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
    asked = open_writable_recipe(recipe, overrides, root)
    cube = open_cube(asked)
    model = find_bundle(asked, bundle)
    asked = with_trained_dates(asked, model, cube)
    warn_unused_overrides(asked, model, overrides)
    check_split(asked, model, cube.step)
    check_all_frames(asked, cube)
    with open_executor(asked.compute) as executor:
        margins = scores.calibrate(asked, cube, model, executor)
        found = scores.score(asked, cube, model, executor, margins)
    table = scores.save_scores(asked, model, found)
    scores.show_scores(found)
    log.info("scores of %s: %s", model.path.name, table)
    return table
