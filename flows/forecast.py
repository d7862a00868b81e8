"""Flow: publish a forecast."""

from __future__ import annotations

import logging

from flows.artifacts import in_run
from flows.paths import models_path
from flows.recipe_flow import recipe_flow
from flows.recipe_store import find_bundle, needs_ingest, open_cube, warn_unused_overrides
from flows.resolve import open_writable_recipe
from flows.runtime import open_executor
from flows.steps import issue
from flows.steps.issue_summary import show_issue
from flows.steps.step import call_flow
from flows.steps.verify_frames import check_forecast_frames
from flows.workers import pick_compute
from pipeline.recipes import Recipe
from pipeline.specs.trained import check_matches_recipe, with_trained_dates
from stores.bundle import has_bundle
from stores.lease import lease
from stores.publish import find_published
from stores.published import check_issue_folders

log = logging.getLogger(__name__)

_WAIT_S = 24 * 3600.0  # another run of the same request; this one then finds its issue


@recipe_flow("forecast")
def forecast(  # noqa: PLR0913  one parameter an option
    recipe: str,
    overrides: list[str] | None = None,
    root: str | None = None,
    init: str | None = None,
    leads: int | None = None,
    bundle: str | None = None,
    prepare: bool = False,
) -> str:
    """Roll the current model over the whole grid, then publish Zarr, COGs and a page.

    The same request twice publishes one issue; a rerun after a crash goes on where it ended.

    Returns:
        The folder of the issue.
    """
    resolved = open_writable_recipe(recipe, overrides, root)
    check_issue_folders(resolved.root)
    if prepare:
        _prepare(resolved, recipe, overrides, root)
    cube = open_cube(resolved)
    model = find_bundle(resolved, bundle)
    resolved = with_trained_dates(resolved, model, cube)
    warn_unused_overrides(resolved, model, overrides)
    if bundle is None:  # chosen by its name, it is what is wanted
        check_matches_recipe(resolved, model)
    job = issue.plan_forecast(resolved, cube, model, init=init, leads=leads)
    with lease(resolved.root, job.key.lease_name, wait_s=_WAIT_S) as held:
        published = find_published(resolved.root, job.key)
        if published is None:
            check_forecast_frames(job)
            stage = issue.stage_forecast(job)
            with open_executor(
                pick_compute(resolved.compute, job.plan.work_seconds)
            ) as executor:
                issue.roll_tiles(job, stage, executor)
                issue.export_cogs(job, stage, executor)
            from flows.steps import page

            page.write_report(job, stage)
            published = issue.publish(job, stage, held)
        elif in_run():  # who opens this run wants to see the forecast too
            from flows.steps import page

            page.leave_page(job, published.path)
        show_issue(published)
    issue.clean_up(resolved)
    return str(published.path)


def _prepare(
    resolved: Recipe, recipe: str, overrides: list[str] | None, root: str | None
) -> None:
    """Ingest, train and evaluate where that was never done.

    Their libraries are imported only then: a forecast is asked for more often than it is new.
    """
    if needs_ingest(resolved):
        from flows.ingest import ingest

        call_flow(ingest, recipe, overrides, root)
    if not has_bundle(models_path(resolved), resolved.name):
        from flows.evaluate import evaluate
        from flows.train import train

        call_flow(train, recipe, overrides, root)
        call_flow(evaluate, recipe, overrides, root)
