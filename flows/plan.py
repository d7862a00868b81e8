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
from pipeline.recipes import resolve_dates
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
    asked = open_recipe(recipe, overrides, root)
    dates = find_dates(asked) if shape is None or not asked.split.is_resolved else {}
    if dates:
        asked = resolve_dates(asked, dates[asked.target.variable][-1])
    if shape is None:
        grid = resolve_grid(asked)
        shape = grid.height, grid.width
        for what, value in init_rows(asked, dates):
            console.print(f"{what}: {value}", highlight=False)
    rollout = describe_rollout(asked, shape)
    workers, stated = resolve_workers(asked.compute), asked.rollout
    plans = list_plans(rollout, workers, core_px=stated.tile_px, block_leads=stated.block_leads)
    fitting = [other for other in plans if other.fits(workers)]
    console.print(f"computing on {describe_compute(asked.compute)}", highlight=False)
    console.print(f"planned for {workers}", highlight=False)
    for what, need in list_space_requirements(asked, shape, cube=None).items():
        echo(f"disk, {what}: {need}")
    shown = sorted(fitting, key=lambda other: other.seconds)[:_SHOWN]
    show_table(
        f"plans for {rollout.shape[0]} x {rollout.shape[1]} px, {pluralize(rollout.leads, 'lead')} "
        f"and {pluralize(rollout.members, 'member')}",
        [_row(other, is_chosen=index == 0) for index, other in enumerate(shown)],
        columns=list(_row(plans[0], is_chosen=False)),
    )
    if len(plans) > len(fitting):
        most = max(other.tile_bytes for other in plans)
        console.print(
            f"{len(plans) - len(fitting)} of {len(plans)} plans need more than the "
            f"{format_bytes(max(0, workers.task_bytes_available))} that a worker has beside itself (up to "
            f"{format_bytes(most)})",
            highlight=False,
        )
    choose_plan(plans, workers)  # the first one shown; refuses when none fits


def parse_shape(text: str) -> tuple[int, int]:
    """Read ``17111x40000``: height, then width [px].

    Raises:
        ValueError: it is not two numbers.
    """
    match = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", text)
    height, width = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX):
        raise ValueError(
            f"shape={text!r} is not a height and a width of 1 to {MAX_SIDE_PX} px, so nothing can "
            "be planned; write e.g. 17111x40000"
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
