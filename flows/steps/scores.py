"""Steps that score a model on the past."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd

from flows.artifacts import ProgressArtifact, create_image, create_table
from flows.console import console, echo_warning, progress_bar, show_table
from flows.paths import scores_path
from flows.steps.memory import measure_memory
from flows.steps.parts import TEST_PART
from flows.steps.step import step
from flows.workers import resolve_workers
from pipeline.executors import Executor
from pipeline.metrics import BASELINES
from pipeline.metrics.calibration import Calibration
from pipeline.metrics.intervals import TooFewError
from pipeline.plots import display_name, label_with_units, plot_skill, to_png
from pipeline.recipes import Recipe
from pipeline.rollout.calibrate import calibrate as learn_margins
from pipeline.rollout.calibrate import save_calibration
from pipeline.rollout.evaluate import Evaluation, evaluate_part, plan_hindcasts
from pipeline.rollout.hindcast import MODEL
from pipeline.rollout.prepare import build_plan, build_request
from pipeline.rollout.request import ForecastRequest
from pipeline.rollout.rollout_plan import RolloutPlan
from pipeline.rollout.score_key import ScoreKey
from pipeline.skill_summary import list_warnings, verdict
from pipeline.specs import build_hindcast_spec, build_rollout_spec
from pipeline.specs.trained import open_further
from stores.bundle import Bundle
from stores.cube import Cube
from stores.files import atomic_write

log = logging.getLogger(__name__)


@step
def calibrate(
    recipe: Recipe, cube: Cube, bundle: Bundle, executor: Executor
) -> Calibration | None:
    """Learn how far intervals must be adjusted; None where the part holds too little."""
    if recipe.rollout.interval is None:
        return None
    spec = build_hindcast_spec(recipe, recipe.split.calibration_part)
    try:
        request, plan = plan_hindcast_rollout(recipe, cube, bundle, spec.part)
        with progress_bar("calibrating intervals") as on_progress:
            found = learn_margins(
                spec, request, plan.tiles, executor=executor, on_progress=on_progress
            )
    except TooFewError as error:  # a validation part that does for training may not do for this
        log.warning("no intervals will be published: %s", error)
        return None
    key = ScoreKey.of(spec, request)
    save_calibration(scores_path(recipe, bundle.path), key, found, cube.version)
    return found


@step
def score(
    recipe: Recipe,
    cube: Cube,
    bundle: Bundle,
    executor: Executor,
    calibration: Calibration | None = None,
) -> Evaluation:
    """Forecast the test part from every init, and score every lead against baselines."""
    request, plan = plan_hindcast_rollout(recipe, cube, bundle, TEST_PART, calibration)
    spec = build_hindcast_spec(recipe, TEST_PART)
    page = ProgressArtifact("evaluation", f"Hindcasts of {bundle.path.name}")
    with progress_bar("forecasting the past") as bar:

        def report(done: float, total: float, note: str = "") -> None:
            bar(done, total, note)
            page.update(done, total, note)

        with measure_memory("evaluation", plan.memory, executor):
            return evaluate_part(
                spec, request, plan.tiles, executor=executor, on_progress=report
            )


@step
def save_scores(recipe: Recipe, bundle: Bundle, found: Evaluation) -> str:
    """Write the scores and a figure of them beside the model; return the table's path."""
    path = found.save(scores_path(recipe, bundle.path))
    title = f"{bundle.path.name}: skill against lead"
    figure = plot_skill(found.table, model=MODEL, step=str(recipe.step), title=title)
    png = to_png(figure)
    with atomic_write(path.with_suffix(".png")) as temporary:
        temporary.write_bytes(png)
    create_image("scores", png, description=title, text=verdict(found.table))
    return str(path)


def plan_hindcast_rollout(
    recipe: Recipe,
    cube: Cube,
    bundle: Bundle,
    part: str,
    calibration: Calibration | None = None,
) -> tuple[ForecastRequest, RolloutPlan]:
    """Plan the hindcasts of a part; each keeps all its leads in memory."""
    spec = build_rollout_spec(recipe)
    hindcasts = plan_hindcasts(build_hindcast_spec(recipe, part), bundle, cube, spec.leads)
    for note in hindcasts.notes:
        log.warning("hindcasts of the %s part: %s", part, note)
    first = cube.step.label(hindcasts.inits[0])
    models = [bundle, *open_further(recipe, bundle)]
    request = build_request(spec, models, cube, init=first, leads=None, calibration=calibration)
    workers = resolve_workers(recipe.compute)
    return request, build_plan(spec, bundle, cube, request.leads, workers, one_block=True)


def show_scores(found: Evaluation) -> None:
    """Print skill per lead, the verdict and the alarms."""
    rows = score_rows(found.table)
    error = label_with_units("RMSE", str(found.table["units"].iloc[0]))
    title = f"{error} and skill of {found.hindcasts}, scored on {found.n_pixels} px"
    show_table(title, rows, columns=list(rows[0]))
    if found.probabilistic is not None:
        show_probabilistic_scores(found.probabilistic)
    console.print(verdict(found.table), highlight=False)
    for warning in [*found.alarms, *list_warnings(found.table, found.probabilistic)]:
        echo_warning(warning)
    create_table("skill", rows, description=title)


def show_probabilistic_scores(chances: pd.DataFrame) -> None:
    """Print how often the intervals held, and how good ensemble and quantiles are, per lead."""
    rows = [
        {str(name).replace("_", " "): value for name, value in row.items()}  # headers wrap
        for row in chances.drop(columns="units").to_dict("records")
    ]
    what = f"intervals, ensemble and quantiles on the untouched {TEST_PART} part"
    title = label_with_units(what, str(chances["units"].iloc[0]))
    show_table(title, rows, columns=list(rows[0]))
    create_table("intervals", rows, description=title)


def score_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Write one row per lead: RMSE of the model and the baselines, and skill against them."""
    errors = table.pivot_table(index="lead", columns="method", values="rmse", sort=False)
    own = table[table["method"] == MODEL].set_index("lead")
    known = [reference for reference in BASELINES if reference in errors]
    return [
        {"lead": str(lead), "model": float(errors.loc[lead, MODEL])}
        | {display_name(reference): float(errors.loc[lead, reference]) for reference in known}
        | {
            f"skill / {display_name(name)}": float(own.loc[lead, f"skill_{name}"])
            for name in known
        }
        for lead in errors.index
    ]
