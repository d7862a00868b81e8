"""Steps from a model to a published forecast."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from flows.artifacts import ProgressArtifact, create_table
from flows.console import progress_bar, show_table
from flows.paths import scores_path
from flows.recipe_store import retention_policy
from flows.steps import worker_tasks
from flows.steps.disk_space import issue_space
from flows.steps.memory import measure_memory
from flows.steps.parts import TEST_PART
from flows.steps.step import step
from flows.steps.throughput import Throughput
from flows.workers import resolve_workers
from pipeline.executors import Executor
from pipeline.memory import WorkerPool
from pipeline.models import StepSpec
from pipeline.recipes import Recipe
from pipeline.rollout.blend import describe_blend
from pipeline.rollout.calibrate import find_calibration
from pipeline.rollout.engine import roll_out
from pipeline.rollout.facts import LATE, ModelFacts
from pipeline.rollout.precision import describe_precision
from pipeline.rollout.prepare import availability_of, build_plan, build_request, span_of
from pipeline.rollout.products import list_products
from pipeline.rollout.publishing import (
    delete_progress,
    describe_bundle,
    describe_bundles,
    format_bundle,
)
from pipeline.rollout.request import ForecastRequest
from pipeline.rollout.rollout_plan import RolloutPlan
from pipeline.rollout.score_key import ScoreKey, list_unproven
from pipeline.specs import build_hindcast_spec, build_rollout_spec
from pipeline.specs.trained import list_differences, open_further
from pipeline.streams.availability import ForcingSupply
from pipeline.streams.input_stack import InputStack
from pipeline.streams.trend import describe_trend
from pipeline.training.environment import describe_environment
from stores import cog
from stores.bundle import Bundle
from stores.clean import clean_stages
from stores.cube import Cube
from stores.errors import LeaseHeldError
from stores.forecast import commit_forecast, create_forecast, has_forecast, open_forecast
from stores.forecast_template import ForecastTemplate, ForecastVariable
from stores.formatting import pluralize
from stores.issue import FORECAST, IssueKey, open_stage, stage_path
from stores.lease import Lease
from stores.publish import PublishResult, publish_issue

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ForecastJob:
    """One forecast that was asked for, planned and not refused."""

    recipe: Recipe
    cube: Cube
    bundles: tuple[Bundle, ...]
    """Models of one kind, in the order in which members are assigned to them."""
    request: ForecastRequest
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
    def covariate_availability(self) -> list[ForcingSupply]:
        """What the cube has of every covariate, as it was known at the init."""
        span = span_of(self.bundle, self.request.leads)
        return availability_of(self.bundle, self.cube).forcing_supplies(span, self.request.init)

    @property
    def units(self) -> str:
        """Units of what is forecast: those in which the model learned."""
        return ModelFacts.of(self.bundle.description).units

    @property
    def template(self) -> ForecastTemplate:
        """Everything about the issue but its numbers."""
        name = self.recipe.target.variable
        variable = self.recipe.target_variable
        described = [
            ForecastVariable(
                f"{name}{product.suffix}",
                self.units,
                f"{product.prefix}{variable.long_name or name}",
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
            first_lead=StepSpec(**self.bundle.description["reading"]).first_lead,
        )


@step
def plan_forecast(
    recipe: Recipe, cube: Cube, bundle: Bundle, *, init: str | None, leads: int | None
) -> ForecastJob:
    """Refuse what cannot be forecast, and show tiles, bytes and tasks before anything runs."""
    spec = build_rollout_spec(recipe)
    bundles = (bundle, *open_further(recipe, bundle))
    request = build_request(spec, bundles, cube, init=init, leads=leads)
    if recipe.rollout.interval is not None:
        key = ScoreKey.of(build_hindcast_spec(recipe, recipe.split.calibration_part), request)
        margins = find_calibration(scores_path(recipe, bundle.path), key)
        request = replace(request, calibration=margins)
    workers = resolve_workers(recipe.compute)
    plan = build_plan(spec, bundle, cube, request.leads, workers)
    job = ForecastJob(recipe, cube, bundles, request, plan)
    _show_plan(job, workers)
    for supply in job.covariate_availability:
        if supply.known.n_late:
            log.warning("%s", supply.late_text)
    _warn_units_changed(job)
    _warn_unproven(job)
    return job


def _show_plan(job: ForecastJob, workers: WorkerPool) -> None:
    cube = job.cube
    show = cube.step.format
    times = job.template.times
    target = cube.dates[job.recipe.target.variable]
    lines = [
        *_model_rows(job),
        ("trained on", describe_environment(job.bundle)),
        ("cube", f"version {cube.version}, to {show(target[-1])}"),
        ("last observed", show(job.request.init)),
        ("forecast", cube.step.label_range(times[0], times[-1])),
        *((supply.name, str(supply)) for supply in job.covariate_availability),
    ]
    lines += [*job.plan.summary_rows(), ("workers", str(workers))]
    rows = [{"what": what, "value": value} for what, value in lines]
    show_table("plan", rows, columns=["what", "value"])
    create_table("plan", rows, description=f"Plan of {job.key.stage_name}")


def _warn_unproven(job: ForecastJob) -> None:
    """Warn of leads beyond those that were trained, where none was scored."""
    scores = scores_path(job.recipe, job.bundle.path)
    trained = ModelFacts.of(job.bundle.description).leads
    if unproven := list_unproven(
        scores, f"{TEST_PART}.json", job.score_key(TEST_PART), trained
    ):
        log.warning("%s", unproven)


def _warn_units_changed(job: ForecastJob) -> None:
    """Warn where the recipe has changed its units since the model was trained."""
    model_units = job.units
    recipe_units = job.recipe.target_variable.units
    if model_units != recipe_units:
        log.warning(
            "the forecast is published in units %r, which %s was trained in, and not in %r, "
            "which the recipe says now; train again for these",
            model_units,
            job.bundle.path.name,
            recipe_units,
        )


@step
def stage_forecast(job: ForecastJob) -> Path:
    """Open the folder in which the issue grows out of sight; a rerun goes on in it."""
    template = job.template
    folder = stage_path(job.recipe.root, job.key)
    issue_space(template, folder, job.cube, job.recipe).check()
    stage = open_stage(job.recipe.root, job.key)
    if not has_forecast(stage, template):
        # First, so that no crash leaves tiles marked as done in an empty store.
        delete_progress(stage)
    create_forecast(stage, template)
    return stage


@step
def roll_tiles(job: ForecastJob, stage: Path, executor: Executor) -> None:
    """Forecast tile by tile, each with exactly the context that the network reads."""
    page = ProgressArtifact("rollout", f"Tiles of {stage.name}")
    throughput = Throughput()
    batch = job.recipe.rollout.batch
    with (
        measure_memory("rollout", job.plan.memory, executor),
        progress_bar("forecasting tiles") as on_progress,
    ):
        for progress in roll_out(job.request, job.plan, stage, executor=executor, batch=batch):
            throughput.update(progress)
            on_progress(progress.done, progress.total, str(throughput))
            page.update(progress.done, progress.total, f"tiles, {throughput}")
    precision = describe_precision(job.request, job.plan.tiles, executor)
    commit_forecast(stage, _provenance_attributes(job, stage) | precision)
    log.info(
        "rolled out %s in %.1f s: %s",
        pluralize(throughput.tiles, "tile"),
        throughput.seconds,
        throughput,
    )


@step
def export_cogs(job: ForecastJob, stage: Path, executor: Executor) -> None:
    """Write every frame as a Cloud-Optimized GeoTIFF."""
    if not job.recipe.outputs.cog:
        return
    names = list(cog.list_cogs(open_forecast(stage / FORECAST)))
    with progress_bar("writing COGs") as on_progress:
        for done, _ in enumerate(
            executor.map_unordered(partial(worker_tasks.export_cog, stage), names), start=1
        ):
            on_progress(done, len(names))


@step
def publish(job: ForecastJob, stage: Path, held: Lease) -> PublishResult:
    """Verify the stage and make it visible at once; the catalog follows."""
    return publish_issue(job.recipe.root, stage, job.key, held)


def clean_up(recipe: Recipe) -> None:
    """Remove the stages of runs that died, once nobody will go on with them."""
    try:
        found = clean_stages(recipe.root, retention_policy(recipe))
    except (OSError, LeaseHeldError) as error:  # what is published stays published
        log.warning("stages of dead runs were not removed (%s); try: cubecast clean", error)
        return
    for candidate in found:
        if candidate.is_removed:
            log.info("removed %s: %s", candidate.path, candidate.reason)


def _model_rows(job: ForecastJob) -> list[tuple[str, str]]:
    """Name every model, and how many forecasts are joined."""
    rows = [("model", format_bundle(describe_bundle(bundle))) for bundle in job.bundles]
    return [*rows, ("members", str(job.request.members.n))]


def _provenance_attributes(job: ForecastJob, stage: Path) -> dict[str, Any]:
    """Describe what the model learned and its trend, late frames, and the tiling."""
    split = ModelFacts.of(job.bundle.description).split
    attributes: dict[str, Any] = {"trained_on": split.label("train", job.recipe.step)}
    chain = InputStack.from_json(job.bundle.description["stack"]).target.chain
    attributes |= describe_trend(chain, job.recipe.target_variable.units)
    if differences := list_differences(job.recipe, job.bundle):
        attributes["model_differs_from_recipe"] = ", ".join(differences)
    if late_covariates := [
        supply.late_text for supply in job.covariate_availability if supply.known.n_late
    ]:
        attributes[LATE] = late_covariates
    if job.plan.mode == "blend":
        return attributes | describe_blend(job.request, job.plan, stage)
    return attributes | {"rollout": "exact: equals the forecast of the whole grid in one piece"}
