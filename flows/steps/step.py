"""One step of a flow: a Prefect task inside a run, a plain function outside."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import Flow, task
from prefect.cache_policies import NO_CACHE

from flows.artifacts import in_run
from stores.errors import DiskFullError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_DELAYS_S = [5.0, 30.0]  # a disk on the net is back by then, or not


def step(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make a function a step of flows.

    It is tried again after an error of the disk or the net; what is refused stays refused.
    Results go from step to step in memory: what must last is in the stores.
    """
    as_task = task(
        name=function.__name__.replace("_", " "),
        retries=len(_DELAYS_S),
        retry_delay_seconds=_DELAYS_S,
        retry_condition_fn=_is_transient,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(function)

    @wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return as_task(*args, **kwargs) if in_run() else function(*args, **kwargs)

    return run


def call_flow(flow: Flow[Arguments, Result], *args: Any, **kwargs: Any) -> Result:
    """Call a flow from a flow: as a run of its own inside a run, as its plain body outside."""
    return flow(*args, **kwargs) if in_run() else flow.fn(*args, **kwargs)


def _is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Check whether an error may be gone next time."""
    error = state.data
    lasting = (
        *(FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError),
        DiskFullError,
    )
    return isinstance(error, OSError) and not isinstance(error, lasting)
