"""Flow: find out which covariates help a model."""

from __future__ import annotations

import logging

from flows.asked import find_bundle, open_cube, tell_unused
from flows.resolve import open_writable
from flows.runtime import spread_on
from flows.scheduled import recipe_flow
from flows.steps import importance as steps
from flows.steps.proof import check_series
from flows.steps.scores import LEARNING_PART
from pipeline.rollout.importance import Trial
from pipeline.specs.trained import check_split, date_as_trained

log = logging.getLogger(__name__)


@recipe_flow("importance")
def importance(
    recipe: str,
    overrides: list[str] | None = None,
    root: str | None = None,
    bundle: str | None = None,
    repeats: int = 3,
    seed: int = 0,
) -> str:
    """Permute each covariate on the validation part, and measure what that costs.

    The test part stays untouched: it cannot judge a choice that was made by looking at it.

    Returns:
        The table of importances.
    """
    asked = open_writable(recipe, overrides, root)
    cube = open_cube(asked)
    model = find_bundle(asked, bundle)
    asked = date_as_trained(asked, model, cube)
    tell_unused(asked, model, overrides)
    check_split(asked, model, cube.step)
    check_series(asked, cube)
    trial = Trial(LEARNING_PART, repeats, seed)
    with spread_on(asked.compute) as spread:
        found = steps.permute(asked, cube, model, trial, spread)
    table = steps.keep_importance(asked, model, found)
    steps.show_importance(found)
    log.info("importance of %s: %s", model.path.name, table)
    return table
