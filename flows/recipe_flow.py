"""What a run on a server does beside its flow: leave late runs out, and sign what it leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.states import Completed

from flows.artifacts import recipe_context
from flows.lost_runs import record_pid
from flows.resolve import open_recipe
from flows.run_names import run_name
from pipeline.recipes import Recipe

log = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_NOT_FAILED_STATES = ["SCHEDULED", "PENDING", "RUNNING", "COMPLETED"]
_HOUR_S = 3600.0


def recipe_flow(
    name: str,
) -> Callable[[Callable[Arguments, Result]], Flow[Arguments, Result]]:
    """Make a function of a recipe a flow; outside Prefect it stays the function it is.

    A server starts every run that is due, one after the other, though the first of them does
    all there is to do. So a run that waited while newer ones became due does nothing.
    """

    def make(function: Callable[Arguments, Result]) -> Flow[Arguments, Result]:
        @wraps(function)
        def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Any:
            context = FlowRunContext.get()
            if context is None or context.flow_run is None:
                return function(*args, **kwargs)
            record_pid(context.flow_run)
            given = context.parameters or {}
            recipe = open_recipe(given["recipe"], given["overrides"], given["root"])
            if why := _lateness_reason(context.flow_run, recipe):
                log.warning("left out: %s", why)
                return Completed(name="LeftOut", message=why)
            with recipe_context(recipe.name):
                return function(*args, **kwargs)

        return flow(name=name, flow_run_name=run_name, persist_result=False)(run)

    return make


def _lateness_reason(run: FlowRun, recipe: Recipe) -> str:
    """Return why a run comes too late to be of use; "" where it does not."""
    due = run.expected_start_time
    if not run.auto_scheduled or due is None:
        return ""
    hours = (datetime.now(UTC) - due).total_seconds() / _HOUR_S
    most = recipe.schedule.max_delay_hours
    if most is not None and hours > most:
        return f"it was due {hours:.1f} h ago, more than schedule.max_delay_hours={most:g}"
    n_newer = _count_newer(run)
    return f"{n_newer} newer of this deployment do the same" * (n_newer > 0)


def _count_newer(run: FlowRun) -> int:
    """Count the runs of the same deployment that became due after this one and did not fail."""
    due = run.expected_start_time
    newer = FlowRunFilter.model_validate(
        {
            "deployment_id": {"any_": [str(run.deployment_id)]},
            "state": {"type": {"any_": _NOT_FAILED_STATES}},
            "expected_start_time": {"before_": datetime.now(UTC), "after_": due},
        }
    )
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=newer)
    return sum(other.id != run.id and other.expected_start_time != due for other in found)
