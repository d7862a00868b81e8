"""Flow: find out which covariates help a model."""

from __future__ import annotations

import logging

from flows.recipe_flow import recipe_flow
from flows.recipe_store import find_bundle, open_cube, warn_unused_overrides
from flows.resolve import open_writable_recipe
from flows.runtime import open_executor
from flows.steps import importance as steps
from flows.steps.parts import VALIDATION_PART
from flows.steps.verify_frames import check_all_frames
from pipeline.rollout.permutation_importance import ImportanceSpec
from pipeline.specs.trained import check_split, with_trained_dates

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
    resolved = open_writable_recipe(recipe, overrides, root)
    cube = open_cube(resolved)
    model = find_bundle(resolved, bundle)
    resolved = with_trained_dates(resolved, model, cube)
    warn_unused_overrides(resolved, model, overrides)
    check_split(resolved, model, cube.step)
    check_all_frames(resolved, cube)
    trial = ImportanceSpec(VALIDATION_PART, repeats, seed)
    with open_executor(resolved.compute) as executor:
        found = steps.run_importance(resolved, cube, model, trial, executor)
    table = steps.save_importance(resolved, model, found)
    steps.show_importance(found)
    log.info("importance of %s: %s", model.path.name, table)
    return table
