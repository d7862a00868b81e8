"""Flow: train every combination of some values, and rank them by the validation part."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from flows.recipe_flow import recipe_flow
from flows.recipe_store import open_cube
from flows.steps import sweep_results
from flows.steps.eta import TrainingEta
from flows.steps.sweep_results import SweepResult
from flows.steps.verify_frames import check_training_frames
from flows.train_one import find_finished_bundle, run_training
from flows.training_request import TrainingRequest
from pipeline.recipes import Recipe, resolve_dates
from pipeline.recipes.sweep import Combination, group_folds, plan_sweep
from pipeline.specs import build_training_spec
from pipeline.training.compare import check_comparable, find_sample_differences
from pipeline.training.trackers import check_trackers
from stores.formatting import pluralize

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
    or that is started again with more values, trains only what is missing. Values of
    ``split.fold`` are not ranked: the others are, by their mean over the folds.

    Returns:
        The table of scores.
    """
    request = TrainingRequest(recipe, tuple(overrides or ()), root, "")
    combinations = plan_sweep(values or [], request.overrides)
    recipes = _check(request, combinations)
    check_training_frames(recipes[0], open_cube(recipes[0]))
    table = sweep_results.sweep_table_path(recipes[0])
    trainings = [
        training
        for combination in combinations
        for training in _request_for(request, combination).per_seed()
    ]
    eta = TrainingEta(_list_unfinished(trainings))
    log.info(
        "%s, %s, %d of them finished already",
        pluralize(len(combinations), "combination"),
        pluralize(len(trainings), "training"),
        len(trainings) - eta.n_left,
    )
    ranked: list[SweepResult] = []
    for shared, folds in group_folds(combinations).items():
        ranked.append(_train(request, shared, folds, eta))
        sweep_results.save_sweep(table, ranked)
    sweep_results.show_sweep(request, ranked, table)
    return str(table)


def _check(request: TrainingRequest, combinations: Sequence[Combination]) -> list[Recipe]:
    """Refuse what cannot be trained or compared, before anything is."""
    recipes = {str(c): _request_for(request, c).open() for c in combinations}
    first, *_ = opened = list(recipes.values())
    check_trackers(first.training.track)
    trainings = {name: build_training_spec(one) for name, one in recipes.items()}
    check_comparable(trainings)
    newest = open_cube(first).step_times(first.target.variable)[-1]
    for recipe in opened:
        resolve_dates(recipe, newest)  # refuses parts that leak
    for key in find_sample_differences(list(trainings.values())):
        log.warning("%s decides which samples validate: small differences mean little", key)
    return opened


def _request_for(request: TrainingRequest, combination: Combination) -> TrainingRequest:
    overrides = (*request.overrides, *combination.overrides)
    return TrainingRequest(request.recipe, overrides, request.root, str(combination))


def _list_unfinished(trainings: Iterable[TrainingRequest]) -> set[str]:
    """List the trainings that are not finished."""
    return {
        training.label
        for training in trainings
        if find_finished_bundle(training.open()) is None
    }


def _train(
    request: TrainingRequest,
    shared: Combination,
    folds: Sequence[Combination],
    eta: TrainingEta,
) -> SweepResult:
    """Train one combination, with every fold and every seed that is asked for."""
    trainings = [
        training for fold in folds for training in _request_for(request, fold).per_seed()
    ]
    bundles = []
    try:
        for training in trainings:
            with eta.time_training(training.label):
                bundles.append(run_training(training))
    except _FAILED as error:
        log.warning("%s failed: %s", trainings[len(bundles)].label, error)
        eta.skip(training.label for training in trainings)
        return SweepResult(shared, (), str(error))
    return SweepResult(shared, tuple(bundles), n_folds=len(folds))
