"""The page of a forecast: published with it, and left where runs are watched.

Apart from the other steps, since a run with nothing to do need not import what draws.
"""

from __future__ import annotations

import logging
from pathlib import Path

from flows.artifacts import create_image, create_markdown, in_run
from flows.paths import scores_path
from flows.steps.issue import ForecastJob
from flows.steps.issue_summary import REPORT
from flows.steps.parts import TEST_PART
from flows.steps.step import step
from pipeline.plots import to_png
from pipeline.report import Report, render_report
from pipeline.rollout.evaluate import Evaluation
from pipeline.rollout.forecaster import forecaster_of
from pipeline.rollout.issue_report import build_report
from pipeline.rollout.map_data import read_map_data
from pipeline.rollout.score_key import nearest_difference
from pipeline.training.bundle import read_curves
from stores.files import write_text
from stores.forecast import commit_forecast, open_forecast
from stores.issue import FORECAST

log = logging.getLogger(__name__)


@step
def write_report(job: ForecastJob, stage: Path) -> None:
    """Write ``report.html``, which is published with the issue.

    A forecast is worth publishing without it: where it cannot be drawn, the issue says why.
    """
    if not job.recipe.outputs.report:
        return
    try:
        report = _build_report(job, stage)
        page = render_report(report)
        _leave_report(report)
    except Exception as error:  # whatever a picture fails of, it must not cost the forecast
        why = f"left out, because it could not be drawn: {error!r}"
        log.warning("report of %s %s; the forecast is whole", stage.name, why, exc_info=True)
        commit_forecast(stage, {"report": why})
    else:
        write_text(stage / REPORT, page)


def leave_page(job: ForecastJob, issue: Path) -> None:
    """Leave what the page of an issue shows, for a run that found it published before."""
    if not job.recipe.outputs.report:
        return
    try:
        _leave_report(_build_report(job, issue))
    except Exception as error:  # as above: the forecast is there
        log.warning("the report of %s could not be drawn: %r", issue, error, exc_info=True)


def _build_report(job: ForecastJob, stage: Path) -> Report:
    """Read what the page shows and draw it, in memory: nothing is written."""
    forecast = open_forecast(stage / FORECAST)
    source = forecaster_of(job.request).source
    scores = scores_path(job.recipe, job.bundle.path)
    key = job.score_key(TEST_PART)
    return build_report(
        forecast,
        read_map_data(forecast, source),
        job.bundle.description,
        curves=read_curves(job.bundle),
        evaluation=Evaluation.load(scores, key, TEST_PART),
        differences=nearest_difference(scores, f"{TEST_PART}.json", key),
    )


def _leave_report(report: Report) -> None:
    """Leave verdict, warnings and maps where runs are watched."""
    if not in_run():
        return  # a picture takes a second
    title = f"{report.title}, {report.subtitle}"
    lines = [report.verdict, *(f"- **{warning}**" for warning in report.warnings)]
    text = "\n\n".join(filter(None, lines)) or "No scores yet: cubecast evaluate"
    plot = next((section.plot for section in report.sections if section.plot is not None), None)
    if plot is None:
        create_markdown("report", text, description=title)
    else:
        create_image("report", to_png(plot()), description=title, text=text)
