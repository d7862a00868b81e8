"""Flow: one of several trainings."""

from __future__ import annotations

import logging
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from flows.paths import cube_path, find_training_path, models_path
from flows.resolve import open_recipe
from flows.runtime import local_threads, open_executor
from flows.steps import model
from flows.steps.step import call_flow
from flows.training_request import TrainingRequest
from pipeline.recipes import Recipe
from pipeline.training.environment import expected_environment
from pipeline.training.result_cache import cache_key, describe_environments, find_cached_result
from stores.bundle import Bundle, open_bundle
from stores.cube import Cube
from stores.lease import lease

log = logging.getLogger(__name__)

_WAIT_S = 24 * 3600.0  # the same training, started by somebody else; this one finds its bundle


def _run_name() -> str:
    """Name a run after its recipe and label."""
    given = flow_run.parameters or {}
    return f"train {Path(str(given['recipe'])).stem} {given['label']}"


@flow(name="train-one", flow_run_name=_run_name, persist_result=False)
def train_one(recipe: str, overrides: list[str], root: str | None, label: str) -> str:
    """Train one of several models and keep its bundle, without making it the current one.

    One that was killed goes on where it was; one that is finished is not trained again, unless
    the cube, the code, a library or the arithmetic of this machine has changed.

    Returns:
        The folder of the bundle.
    """
    resolved = open_recipe(recipe, overrides, root)
    with lease(resolved.root, f"train-{resolved.fingerprint()[:32]}", wait_s=_WAIT_S):
        bundle = find_finished_bundle(resolved)
        if bundle is not None:
            log.info("%s: trained already, as %s", label, bundle.path.name)
            return str(bundle.path)
        log.info("%s: training", label)
        with open_executor(resolved.compute) as executor:
            bundle = model.train_model(resolved, executor, label)
    model.show_model(bundle)
    return str(bundle.path)


def find_finished_bundle(recipe: Recipe) -> Bundle | None:
    """Find the bundle of a recipe that was trained as one of several, on this very cube.

    One that was computed on another device, in another precision or with other threads is
    another bundle, and is not found.
    """
    logs = find_training_path(recipe)
    if logs is None:
        return None
    compute = recipe.compute
    expected = expected_environment(
        compute.device,
        recipe.training.precision,
        threads=local_threads(compute),
        ranks=compute.ranks,
    )
    made_of = cache_key(recipe.fingerprint(), Cube.open(cube_path(recipe)))
    making = made_of | describe_environments([expected])
    return find_cached_result(logs, making, models_path(recipe))


def run_training(training: TrainingRequest) -> Bundle:
    """Do one training as a run of its own."""
    path = call_flow(
        train_one,
        training.recipe,
        list(training.overrides),
        training.root,
        training.label,
    )
    return open_bundle(Path(path))
