"""Steps from a model to a published forecast."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from flows.artifacts import ProgressPage, leave_link, leave_table
from flows.asked import scores_of
from flows.console import progress_bar, show_table
from flows.runtime import worker_share
from flows.steps.pace import Pace
from flows.steps.scores import PART
from flows.steps.step import step
from pipeline.models import Reading
from pipeline.recipes import Recipe
from pipeline.report import Report, render_report
from pipeline.rollout.blend import describe_blend
from pipeline.rollout.calibrate import find_calibration
from pipeline.rollout.drawn import draw_issue
from pipeline.rollout.engine import roll_out
from pipeline.rollout.evaluate import Evaluation
from pipeline.rollout.facts import Model
from pipeline.rollout.forecaster import forecaster_of
from pipeline.rollout.page import build_report
from pipeline.rollout.plan import RolloutPlan
from pipeline.rollout.precision import describe_precision
from pipeline.rollout.prepare import build_plan, build_request
from pipeline.rollout.products import list_products
from pipeline.rollout.publishing import ledger_of
from pipeline.rollout.request import Request
from pipeline.rollout.score_key import ScoreKey, nearest_difference
from pipeline.spread import Spread
from pipeline.training.bundle import read_curves
from stores import cog
from stores.bundle import Bundle, joint_digest, open_bundle
from stores.cube import Cube
from stores.files import write_text
from stores.forecast import create_forecast, finish_forecast, has_forecast, open_forecast
from stores.forecast_template import ForecastTemplate, ForecastVariable
from stores.issue import FORECAST, IssueKey, open_stage
from stores.lease import Lease
from stores.publish import Published, publish_issue
from stores.scratch import scratch_of

REPORT = "report.html"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One forecast that was asked for, planned and not refused."""

    recipe: Recipe
    cube: Cube
    bundle: Bundle
    request: Request
    plan: RolloutPlan

    @property
    def key(self) -> IssueKey:
        """What the forecast follows from; equal keys are one issue."""
        return IssueKey(
            recipe=self.recipe.fingerprint(),
            bundle=joint_digest([self.bundle, *map(open_bundle, self.request.bundles[1:])]),
            cube=self.cube.version,
            init=self.cube.step.label(self.request.init),
            leads=self.request.leads,
            calibration=self.request.calibration.digest if self.request.calibration else "",
        )

    def score_key(self, part: str) -> ScoreKey:
        """Name the scores of a part that are of forecasts made as this one."""
        return ScoreKey.of(self.recipe, self.request, part)

    @property
    def template(self) -> ForecastTemplate:
        """Everything about the issue but its numbers."""
        name, variable = self.recipe.target.variable, self.recipe.target_variable
        units = Model.of(self.bundle.description).units
        described = [
            ForecastVariable(
                f"{name}{product.suffix}",
                units,
                f"{product.words}{variable.long_name or name}",
                variable.standard_name,
                product.attributes,
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
            layout=self.plan.layout,
            first_lead=Reading(**self.bundle.description["reading"]).first_lead,
        )


@step
def plan_forecast(
    recipe: Recipe, cube: Cube, bundle: Bundle, *, init: str | None, leads: int | None
) -> Job:
    """Refuse what cannot be forecast, and show tiles, bytes and tasks before anything runs."""
    request = build_request(recipe, bundle, cube, init=init, leads=leads)
    if recipe.rollout.interval is not None:
        key = ScoreKey.of(recipe, request, recipe.split.margins_part)
        margins = find_calibration(scores_of(recipe, bundle.path), key)
        request = replace(request, calibration=margins)
    plan = build_plan(recipe, bundle, cube, request.leads, worker_share(recipe.compute))
    job = Job(recipe, cube, bundle, request, plan)
    label, times = cube.step.label, job.template.times
    asked = [
        ("model", bundle.path.name),
        ("cube", f"version {cube.version}, to {label(cube.times[-1])}"),
        ("last observed", label(request.init)),
        ("forecast", f"{label(times[0])} to {label(times[-1])}"),
    ]
    rows = [{"what": what, "value": value} for what, value in [*asked, *plan.rows()]]
    show_table("plan", rows, columns=["what", "value"])
    leave_table("plan", rows, description=f"Plan of {job.key.stage_name}")
    return job


@step
def stage_forecast(job: Job) -> Path:
    """Open the folder in which the issue grows out of sight; a rerun goes on in it."""
    stage = open_stage(job.recipe.root, job.key)
    if not has_forecast(stage, job.template):
        # First, so that no crash leaves tiles marked as done in an empty store.
        _forget(stage)
    create_forecast(stage, job.template)
    return stage


@step
def roll_tiles(job: Job, stage: Path, spread: Spread) -> None:
    """Forecast tile by tile, each with exactly the context that the network reads."""
    page, pace = ProgressPage("rollout", f"Tiles of {stage.name}"), Pace()
    batch = job.recipe.rollout.batch
    with progress_bar("forecasting tiles") as tell:
        for progress in roll_out(job.request, job.plan, stage, spread=spread, batch=batch):
            pace.add(progress)
            tell(progress.done, progress.total, str(pace))
            page.tell(progress.done, progress.total)
    precision = describe_precision(job.request, job.plan.tiles, spread)
    finish_forecast(stage, _how_made(job, stage) | precision)
    log.info("rolled out %d tiles in %.1f s: %s", pace.tiles, pace.seconds, pace)


@step
def export_cogs(job: Job, stage: Path, spread: Spread) -> None:
    """Write every frame as a Cloud-Optimized GeoTIFF."""
    if not job.recipe.outputs.cog:
        return
    names = list(cog.list_cogs(open_forecast(stage / FORECAST)))
    with progress_bar("writing COGs") as tell:
        for done, _ in enumerate(spread.each(partial(_export, stage), names), start=1):
            tell(done, len(names))


@step
def write_page(job: Job, stage: Path) -> None:
    """Write ``report.html``, which is published with the issue.

    A forecast is worth publishing without it: where it cannot be drawn, the issue says why.
    """
    if not job.recipe.outputs.report:
        return
    try:
        page = render_report(_draw_page(job, stage))
    except Exception as error:  # whatever a picture fails of, it must not cost the forecast
        why = f"left out, because it could not be drawn: {error!r}"
        log.warning("report of %s %s; the forecast is whole", stage.name, why, exc_info=True)
        finish_forecast(stage, {"report": why})
    else:
        write_text(stage / REPORT, page)


def _draw_page(job: Job, stage: Path) -> Report:
    """Read what the page shows and draw it, in memory: nothing is written."""
    forecast, source = open_forecast(stage / FORECAST), forecaster_of(job.request).source
    scores, key = scores_of(job.recipe, job.bundle.path), job.score_key(PART)
    return build_report(
        forecast,
        draw_issue(forecast, source),
        job.bundle.description,
        curves=read_curves(job.bundle),
        evaluation=Evaluation.load(scores, key, PART),
        unlike=nearest_difference(scores, f"{PART}.json", key),
    )


@step
def publish(job: Job, stage: Path, held: Lease) -> Published:
    """Verify the stage and make it visible at once; the catalog follows."""
    published = publish_issue(job.recipe.root, stage, job.key, held)
    _forget(stage)
    return published


def show_issue(published: Published) -> None:
    """Say where a forecast is."""
    if not published.is_new:
        log.info("already published: %s (revision %d)", published.path, published.revision)
    for name in (REPORT, FORECAST):
        if (published.path / name).exists():
            leave_link(name, published.path / name, description=f"Issue {published.path.name}")


def _forget(stage: Path) -> None:
    """Remove what was kept beside a stage: the ledger first, so that it promises nothing."""
    shutil.rmtree(ledger_of(stage).folder, ignore_errors=True)
    shutil.rmtree(scratch_of(stage), ignore_errors=True)


def _how_made(job: Job, stage: Path) -> dict[str, Any]:
    """Say of a forecast whether its tiles are exact, or how far they disagree."""
    if job.plan.mode == "blend":
        return describe_blend(job.request, job.plan, stage)
    return {"rollout": "exact: equals the forecast of the whole grid in one piece"}


def _export(stage: Path, name: str) -> str:
    return cog.export_cog(open_forecast(stage / FORECAST), name).name
