"""Flow: train a model on the cube, or several and keep the best."""

from __future__ import annotations

import logging

from flows.asked import Training, open_cube
from flows.resolve import open_writable
from flows.runtime import spread_on
from flows.scheduled import recipe_flow
from flows.steps import model, runs
from flows.steps.proof import check_learned
from flows.trainings import do_training, find_trained
from pipeline.recipes import Recipe, date_recipe
from pipeline.training.compare import pick_best
from pipeline.training.track import check_track
from stores.bundle import Bundle, make_current
from stores.counting import count
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
    asked = open_writable(recipe, overrides, root)
    check_track(asked.training.track)
    cube = open_cube(asked)  # refuses before anything is written
    check_learned(date_recipe(asked, cube.times_of(asked.target.variable)[-1]), cube)
    with lease(asked.root, f"train-{asked.name}", wait_s=_WAIT_S):
        if asked.training.runs == 1:
            bundle = _train_alone(asked)
        else:
            bundle = _train_several(Training(recipe, tuple(overrides or ()), root, ""))
    training = bundle.description["training"]
    log.info("bundle %s: best of %s", bundle.path, count(training["epochs"], "epoch"))
    return str(bundle.path)


def _train_alone(asked: Recipe) -> Bundle:
    known = find_trained(asked)
    if known is not None:
        log.info("trained already as one of several, as %s", known.path.name)
        _make_current(asked, known)
        return known
    with spread_on(asked.compute) as spread:
        bundle = model.train_model(asked, spread)
    model.show_model(bundle)
    _make_current(asked, bundle)
    return bundle


def _make_current(asked: Recipe, bundle: Bundle) -> None:
    """Let forecasts use a bundle, unless it is of a fold: that judges the recipe."""
    if asked.split.folds is None:
        make_current(bundle)
        return
    log.warning(
        "fold %d of %d validates, so %s does not become current; train without split.folds for "
        "a model to forecast with, or name this one: --bundle %s",
        asked.split.fold,
        asked.split.folds,
        bundle.path.name,
        bundle.path.name,
    )


def _train_several(asked: Training) -> Bundle:
    """Train with every seed; the current bundle stays until all are done."""
    bundles = [do_training(one) for one in asked.with_seeds()]
    best = pick_best(bundles)
    _make_current(asked.open(), best)
    runs.show_runs(asked, bundles, best)
    return best
