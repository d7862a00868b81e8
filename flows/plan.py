"""Show the plans that a rollout could follow, and which one it would."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flows.check import describe_rollout, init_rows
from flows.console import console, echo, show_table
from flows.recipe_store import resolve_grid
from flows.resolve import open_recipe
from flows.runtime import describe_compute
from flows.steps.cube import find_dates
from flows.steps.disk_space import list_space_requirements
from flows.workers import resolve_workers
from pipeline.limits import MAX_SIDE_PX
from pipeline.memory import WorkerPool
from pipeline.recipes import Recipe, resolve_dates
from pipeline.rollout.rollout_plan import RolloutPlan, choose_plan, list_plans
from stores.formatting import format_bytes, pluralize

_SHOWN = 16


def plan(
    recipe: str, overrides: Sequence[str], root: str | None, shape: tuple[int, int] | None
) -> None:
    """Print candidate plans for a recipe; nothing is written.

    Args:
        recipe: name or path.
        overrides: changes of the recipe.
        root: other root than the recipe's.
        shape: height and width of another grid than the recipe's [px].

    Raises:
        ValueError: no plan fits a worker's memory, with the smallest change that would do; or
            a forecast from the last frame cannot be made.
    """
    resolved = open_recipe(recipe, overrides, root)
    dates = find_dates(resolved) if shape is None or not resolved.split.is_resolved else {}
    if dates:
        resolved = resolve_dates(resolved, dates[resolved.target.variable][-1])
    grid_shape = _recipe_shape(resolved) if shape is None else shape
    if shape is None:
        for what, value in init_rows(resolved, dates):
            console.print(f"{what}: {value}", highlight=False)
    rollout = describe_rollout(resolved, grid_shape)
    workers = resolve_workers(resolved.compute)
    stated = resolved.rollout
    plans = list_plans(rollout, workers, core_px=stated.tile_px, block_leads=stated.block_leads)
    fitting = [other for other in plans if other.fits(workers)]
    console.print(f"computing on {describe_compute(resolved.compute)}", highlight=False)
    console.print(f"planned for {workers}", highlight=False)
    for what, need in list_space_requirements(resolved, grid_shape, cube=None).items():
        echo(f"disk, {what}: {need}")
    shown = sorted(fitting, key=lambda other: other.seconds)[:_SHOWN]
    show_table(
        f"plans for {rollout.shape[0]} x {rollout.shape[1]} px, "
        f"{pluralize(rollout.leads, 'lead')} and {pluralize(rollout.members, 'member')}",
        [_row(other, is_chosen=index == 0) for index, other in enumerate(shown)],
        columns=list(_row(plans[0], is_chosen=False)),
    )
    _report_too_large(plans, len(fitting), workers)
    choose_plan(plans, workers)  # the first one shown; refuses when none fits


def _recipe_shape(recipe: Recipe) -> tuple[int, int]:
    grid = resolve_grid(recipe)
    return grid.height, grid.width


def _report_too_large(
    plans: Sequence[RolloutPlan], n_fitting: int, workers: WorkerPool
) -> None:
    """Print how many plans no worker can hold, and what they would take."""
    if len(plans) == n_fitting:
        return
    most = max(other.tile_bytes for other in plans)
    available = format_bytes(max(0, workers.task_bytes_available))
    console.print(
        f"{len(plans) - n_fitting} of {len(plans)} plans need more than the {available} "
        f"that a worker has beside itself (up to {format_bytes(most)})",
        highlight=False,
    )


def parse_shape(text: str) -> tuple[int, int]:
    """Read ``17111x40000``: height, then width [px].

    Raises:
        ValueError: it is not two numbers.
    """
    match = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", text)
    height, width = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX):
        raise ValueError(
            f"shape={text!r} is not a height and a width of 1 to {MAX_SIDE_PX} px, so nothing "
            "can be planned; write e.g. 17111x40000"
        )
    return height, width


def _row(plan: RolloutPlan, *, is_chosen: bool) -> dict[str, str]:
    return {
        "tile [px]": str(plan.core_px),
        "block [leads]": str(plan.block_leads),
        "halo [px]": str(plan.halo_px),
        "redundant work": f"{plan.redundancy:.2f} x",
        "reads [GB]": f"{plan.read_bytes / 1e9:.3g}",
        "memory of a worker": format_bytes(plan.memory.n_bytes),
        "tasks": str(plan.n_tasks),
        "estimate [s]": f"{plan.seconds:.3g}",
        "": "chosen: least estimated time" if is_chosen else "",
    }
