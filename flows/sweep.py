"""Flow: train every combination of some values, and rank them by the validation part."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from flows.asked import Training, open_cube
from flows.scheduled import recipe_flow
from flows.steps import ranking
from flows.steps.outlook import Outlook
from flows.steps.proof import check_learned
from flows.steps.ranking import Ranked
from flows.trainings import do_training, find_trained
from pipeline.recipes import Recipe, date_recipe
from pipeline.recipes.sweep import Combination, group_folds, plan_sweep
from pipeline.specs import build_training_spec
from pipeline.training.compare import check_comparable, find_other_samples
from pipeline.training.track import check_track
from stores.counting import count

log = logging.getLogger(__name__)

_FAILED = (FloatingPointError, MemoryError)
"""What may become of a combination without ending the sweep: it diverges, or is too large."""


@recipe_flow("sweep")
def sweep(
    recipe: str,
    overrides: list[str] | None = None,
    root: str | None = None,
    values: list[str] | None = None,
) -> str:
    """Train every combination of values and rank them by their scores on the validation part.

    The current bundle stays; bundles of the sweep are kept beside it. A sweep that was killed,
    or that is asked for again with more values, trains only what is missing. Values of
    ``split.fold`` are not ranked: the others are, by their mean over the folds.

    Returns:
        The table of scores.
    """
    asked = Training(recipe, tuple(overrides or ()), root, "")
    combinations = plan_sweep(values or [], asked.overrides)
    recipes = _check(asked, combinations)
    check_learned(recipes[0], open_cube(recipes[0]))
    table = ranking.table_of(recipes[0])
    trainings = [one for c in combinations for one in _of(asked, c).with_seeds()]
    outlook = Outlook(_left(trainings))
    log.info(
        "%s, %s, %d of them finished already",
        count(len(combinations), "combination"),
        count(len(trainings), "training"),
        len(trainings) - outlook.n_left,
    )
    ranked: list[Ranked] = []
    for shared, folds in group_folds(combinations).items():
        ranked.append(_train(asked, shared, folds, outlook))
        ranking.keep_ranking(table, ranked)
    ranking.show_ranking(asked, ranked, table)
    return str(table)


def _check(asked: Training, combinations: Sequence[Combination]) -> list[Recipe]:
    """Refuse what cannot be trained or compared, before anything is."""
    recipes = {str(c): _of(asked, c).open() for c in combinations}
    first, *_ = opened = list(recipes.values())
    check_track(first.training.track)
    trainings = {name: build_training_spec(one) for name, one in recipes.items()}
    check_comparable(trainings)
    newest = open_cube(first).times_of(first.target.variable)[-1]
    for one in opened:
        date_recipe(one, newest)  # refuses parts that leak
    for key in find_other_samples(list(trainings.values())):
        log.warning("%s decides which samples validate: small differences mean little", key)
    return opened


def _of(asked: Training, combination: Combination) -> Training:
    overrides = (*asked.overrides, *combination.overrides)
    return Training(asked.recipe, overrides, asked.root, str(combination))


def _left(trainings: Iterable[Training]) -> set[str]:
    """Name the trainings that are not finished."""
    return {one.label for one in trainings if find_trained(one.open()) is None}


def _train(
    asked: Training, shared: Combination, folds: Sequence[Combination], outlook: Outlook
) -> Ranked:
    """Train one combination, with every fold and every seed that is asked for."""
    trainings = [one for fold in folds for one in _of(asked, fold).with_seeds()]
    bundles = []
    try:
        for one in trainings:
            with outlook.timing(one.label):
                bundles.append(do_training(one))
    except _FAILED as error:
        log.warning("%s failed: %s", trainings[len(bundles)].label, error)
        outlook.leave_out(one.label for one in trainings)
        return Ranked(shared, (), str(error))
    return Ranked(shared, tuple(bundles), n_folds=len(folds))
