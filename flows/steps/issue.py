"""Steps from a model to a published forecast."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from flows.artifacts import ProgressPage, leave_table
from flows.asked import keep_policy, scores_of
from flows.console import progress_bar, show_table
from flows.steps import work
from flows.steps.memory import measuring
from flows.steps.pace import Pace
from flows.steps.room import issue_need
from flows.steps.scores import PART
from flows.steps.step import step
from flows.workers import worker_share
from pipeline.models import Reading
from pipeline.recipes import Recipe
from pipeline.rollout.blend import describe_blend
from pipeline.rollout.calibrate import find_calibration
from pipeline.rollout.engine import roll_out
from pipeline.rollout.facts import LATE, Model
from pipeline.rollout.plan import RolloutPlan
from pipeline.rollout.precision import describe_precision
from pipeline.rollout.prepare import availability_of, build_plan, build_request, span_of
from pipeline.rollout.products import list_products
from pipeline.rollout.publishing import (
    describe_bundle,
    describe_bundles,
    forget_progress,
    show_bundle,
)
from pipeline.rollout.request import Request
from pipeline.rollout.score_key import ScoreKey, list_unproven
from pipeline.specs import build_hindcast_spec, build_rollout_spec
from pipeline.specs.trained import list_differences, open_further
from pipeline.spread import Spread
from pipeline.streams.availability import Supply
from pipeline.streams.stack import Stack
from pipeline.streams.trend import describe_trend
from pipeline.training.arithmetic import describe_arithmetic
from stores import cog
from stores.bundle import Bundle
from stores.clean import clean_stages
from stores.counting import count
from stores.cube import Cube
from stores.errors import BusyError
from stores.forecast import create_forecast, finish_forecast, has_forecast, open_forecast
from stores.forecast_template import ForecastTemplate, ForecastVariable
from stores.issue import FORECAST, IssueKey, open_stage, stage_of
from stores.lease import Lease
from stores.publish import Published, publish_issue

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One forecast that was asked for, planned and not refused."""

    recipe: Recipe
    cube: Cube
    bundles: tuple[Bundle, ...]
    """Models of one kind, in the order in which members are dealt to them."""
    request: Request
    plan: RolloutPlan

    @property
    def bundle(self) -> Bundle:
        """The first model, or the only one."""
        return self.bundles[0]

    @property
    def key(self) -> IssueKey:
        """What the forecast follows from; equal keys are one issue."""
        return IssueKey(
            name=self.recipe.name,
            recipe=self.recipe.fingerprint(),
            bundles=tuple(bundle.digest for bundle in self.bundles),
            cube=self.cube.version,
            init=self.cube.step.label(self.request.init),
            leads=self.request.leads,
            calibration=self.request.calibration.digest if self.request.calibration else "",
        )

    def score_key(self, part: str) -> ScoreKey:
        """Name the scores of a part that are of forecasts made as this one."""
        return ScoreKey.of(build_hindcast_spec(self.recipe, part), self.request)

    @property
    def supplies(self) -> list[Supply]:
        """What the cube has of every covariate, as it was known at the init."""
        span = span_of(self.bundle, self.request.leads)
        return availability_of(self.bundle, self.cube).supplies(span, self.request.init)

    @property
    def units(self) -> str:
        """Units of what is forecast: those in which the model learned."""
        return Model.of(self.bundle.description).units

    @property
    def template(self) -> ForecastTemplate:
        """Everything about the issue but its numbers."""
        name, variable = self.recipe.target.variable, self.recipe.target_variable
        described = [
            ForecastVariable(
                f"{name}{product.suffix}",
                self.units,
                f"{product.words}{variable.long_name or name}",
                variable.standard_name,
                product.attributes,
                variable.cell_methods,
            )
            for product in list_products(self.request)
        ]
        return ForecastTemplate(
            grid=self.cube.grid,
            variables=tuple(described),
            step=self.cube.step,
            init=self.request.init,
            leads=self.request.leads,
            title=self.recipe.title,
            attributes=describe_bundles(self.bundles, self.request)
            | self.recipe.metadata.attributes,
            layout=self.plan.layout,
            first_lead=Reading(**self.bundle.description["reading"]).first_lead,
        )


@step
def plan_forecast(
    recipe: Recipe, cube: Cube, bundle: Bundle, *, init: str | None, leads: int | None
) -> Job:
    """Refuse what cannot be forecast, and show tiles, bytes and tasks before anything runs."""
    spec, bundles = build_rollout_spec(recipe), (bundle, *open_further(recipe, bundle))
    request = build_request(spec, bundles, cube, init=init, leads=leads)
    if recipe.rollout.interval is not None:
        key = ScoreKey.of(build_hindcast_spec(recipe, recipe.split.margins_part), request)
        margins = find_calibration(scores_of(recipe, bundle.path), key)
        request = replace(request, calibration=margins)
    workers = worker_share(recipe.compute)
    plan = build_plan(spec, bundle, cube, request.leads, workers)
    job = Job(recipe, cube, bundles, request, plan)
    show, times = cube.step.show, job.template.times
    target = cube.dates[recipe.target.variable]
    asked = [
        *_model_rows(job),
        ("trained on", describe_arithmetic(bundle)),
        ("cube", f"version {cube.version}, to {show(target[-1])}"),
        ("last observed", show(request.init)),
        ("forecast", cube.step.ends(times[0], times[-1])),
        *((supply.name, str(supply)) for supply in job.supplies),
    ]
    said = [*asked, *plan.rows(), ("workers", str(workers))]
    rows = [{"what": what, "value": value} for what, value in said]
    show_table("plan", rows, columns=["what", "value"])
    leave_table("plan", rows, description=f"Plan of {job.key.stage_name}")
    for supply in job.supplies:
        if supply.known.n_late:
            log.warning("%s", supply.lag)
    _compare_units(job)
    scores, trained = scores_of(recipe, bundle.path), Model.of(bundle.description).leads
    if unproven := list_unproven(scores, f"{PART}.json", job.score_key(PART), trained):
        log.warning("%s", unproven)
    return job


def _compare_units(job: Job) -> None:
    """Warn where the recipe tells units since the model was trained."""
    learned, told = job.units, job.recipe.target_variable.units
    if learned != told:
        log.warning(
            "the forecast is published in units %r, which %s was trained in, and not in %r, "
            "which the recipe says now; train again for these",
            learned,
            job.bundle.path.name,
            told,
        )


@step
def stage_forecast(job: Job) -> Path:
    """Open the folder in which the issue grows out of sight; a rerun goes on in it."""
    template = job.template
    folder = stage_of(job.recipe.root, job.key)
    issue_need(template, folder, job.cube, job.recipe).check()
    stage = open_stage(job.recipe.root, job.key)
    if not has_forecast(stage, template):
        # First, so that no crash leaves tiles marked as done in an empty store.
        forget_progress(stage)
    create_forecast(stage, template)
    return stage


@step
def roll_tiles(job: Job, stage: Path, spread: Spread) -> None:
    """Forecast tile by tile, each with exactly the context that the network reads."""
    page, pace = ProgressPage("rollout", f"Tiles of {stage.name}"), Pace()
    batch = job.recipe.rollout.batch
    with (
        measuring("rollout", job.plan.memory, spread),
        progress_bar("forecasting tiles") as tell,
    ):
        for progress in roll_out(job.request, job.plan, stage, spread=spread, batch=batch):
            pace.add(progress)
            tell(progress.done, progress.total, str(pace))
            page.tell(progress.done, progress.total, f"tiles, {pace}")
    precision = describe_precision(job.request, job.plan.tiles, spread)
    finish_forecast(stage, _how_made(job, stage) | precision)
    log.info("rolled out %s in %.1f s: %s", count(pace.tiles, "tile"), pace.seconds, pace)


@step
def export_cogs(job: Job, stage: Path, spread: Spread) -> None:
    """Write every frame as a Cloud-Optimized GeoTIFF."""
    if not job.recipe.outputs.cog:
        return
    names = list(cog.list_cogs(open_forecast(stage / FORECAST)))
    with progress_bar("writing COGs") as tell:
        for done, _ in enumerate(spread.each(partial(work.export_cog, stage), names), start=1):
            tell(done, len(names))


@step
def publish(job: Job, stage: Path, held: Lease) -> Published:
    """Verify the stage and make it visible at once; the catalog follows."""
    return publish_issue(job.recipe.root, stage, job.key, held)


def clean_up(recipe: Recipe) -> None:
    """Remove the stages of runs that died, once nobody will go on with them."""
    try:
        found = clean_stages(recipe.root, keep_policy(recipe))
    except (OSError, BusyError) as error:  # what is published stays published
        log.warning("stages of dead runs were not removed (%s); try: cubecast clean", error)
        return
    for one in found:
        if one.goes:
            log.info("removed %s: %s", one.path, one.why)


def _model_rows(job: Job) -> list[tuple[str, str]]:
    """Name every model, and how many forecasts are joined."""
    rows = [("model", show_bundle(describe_bundle(bundle))) for bundle in job.bundles]
    return [*rows, ("members", str(job.request.members.n))]


def _how_made(job: Job, stage: Path) -> dict[str, Any]:
    """Say what the model learned and its trend, what stands for late frames, and of tiles."""
    learned = Model.of(job.bundle.description).split
    made: dict[str, Any] = {"trained_on": learned.label("train", job.recipe.step)}
    chain = Stack.from_json(job.bundle.description["stack"]).target.chain
    made |= describe_trend(chain, job.recipe.target_variable.units)
    if differences := list_differences(job.recipe, job.bundle):
        made["model_differs_from_recipe"] = ", ".join(differences)
    if late := [supply.lag for supply in job.supplies if supply.known.n_late]:
        made[LATE] = late
    if job.plan.mode == "blend":
        return made | describe_blend(job.request, job.plan, stage)
    return made | {"rollout": "exact: equals the forecast of the whole grid in one piece"}
