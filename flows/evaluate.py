"""Flow: score a model on the test part."""

from __future__ import annotations

import logging

from flows.asked import find_bundle, open_cube, tell_unused
from flows.resolve import open_writable
from flows.runtime import spread_on
from flows.scheduled import recipe_flow
from flows.steps import scores
from flows.steps.proof import check_series
from pipeline.specs.trained import check_split, date_as_trained

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
    asked = open_writable(recipe, overrides, root)
    cube = open_cube(asked)
    model = find_bundle(asked, bundle)
    asked = date_as_trained(asked, model, cube)
    tell_unused(asked, model, overrides)
    check_split(asked, model, cube.step)
    check_series(asked, cube)
    with spread_on(asked.compute) as spread:
        margins = scores.calibrate(asked, cube, model, spread)
        found = scores.score(asked, cube, model, spread, margins)
    table = scores.keep_scores(asked, model, found)
    scores.show_scores(found)
    log.info("scores of %s: %s", model.path.name, table)
    return table
