"""Flow: train a model on the cube, or several and keep the best."""

from __future__ import annotations

import logging

from flows.recipe_flow import recipe_flow
from flows.recipe_store import open_cube
from flows.resolve import open_writable_recipe
from flows.runtime import open_executor
from flows.steps import model, seeds
from flows.steps.verify_frames import check_training_frames
from flows.train_one import find_finished_bundle, run_training
from flows.training_request import TrainingRequest
from pipeline.recipes import Recipe, resolve_dates
from pipeline.training.compare import pick_best
from pipeline.training.trackers import check_trackers
from stores.bundle import Bundle, make_current
from stores.formatting import pluralize
from stores.lease import lease

log = logging.getLogger(__name__)

_WAIT_S = 24 * 3600.0  # another training of the same recipe


@recipe_flow("train")
def train(recipe: str, overrides: list[str] | None = None, root: str | None = None) -> str:
    """Train the recipe's network and keep the best epoch as the current bundle.

    A training that was killed goes on where it was, and gives the same bundle. With
    ``training.runs`` there are several, of which the best becomes current.

    Returns:
        The folder of the bundle.
    """
    resolved = open_writable_recipe(recipe, overrides, root)
    check_trackers(resolved.training.track)
    cube = open_cube(resolved)  # refuses before anything is written
    check_training_frames(
        resolve_dates(resolved, cube.step_times(resolved.target.variable)[-1]), cube
    )
    with lease(resolved.root, f"train-{resolved.name}", wait_s=_WAIT_S):
        if resolved.training.runs == 1:
            bundle = _train_alone(resolved)
        else:
            bundle = _train_several(TrainingRequest(recipe, tuple(overrides or ()), root, ""))
    training = bundle.description["training"]
    log.info("bundle %s: best of %s", bundle.path, pluralize(training["epochs"], "epoch"))
    return str(bundle.path)


def _train_alone(recipe: Recipe) -> Bundle:
    known = find_finished_bundle(recipe)
    if known is not None:
        log.info("trained already as one of several, as %s", known.path.name)
        _make_current(recipe, known)
        return known
    with open_executor(recipe.compute) as executor:
        bundle = model.train_model(recipe, executor)
    model.show_model(bundle)
    _make_current(recipe, bundle)
    return bundle


def _make_current(recipe: Recipe, bundle: Bundle) -> None:
    """Let forecasts use a bundle, unless it is of a fold: that judges the recipe."""
    if recipe.split.folds is None:
        make_current(bundle)
        return
    log.warning(
        "fold %d of %d validates, so %s does not become current; train without split.folds for "
        "a model to forecast with, or name this one: --bundle %s",
        recipe.split.fold,
        recipe.split.folds,
        bundle.path.name,
        bundle.path.name,
    )


def _train_several(request: TrainingRequest) -> Bundle:
    """Train with every seed; the current bundle stays until all are done."""
    bundles = [run_training(training) for training in request.per_seed()]
    best = pick_best(bundles)
    _make_current(request.open(), best)
    seeds.show_seeds(request, bundles, best)
    return best
