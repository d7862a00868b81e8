"""Flow: bring the cube up to date with its archive."""

from __future__ import annotations

import logging

from flows.recipe_flow import recipe_flow
from flows.resolve import open_writable_recipe
from flows.runtime import open_executor
from flows.steps import cube
from flows.workers import pick_compute, resolve_workers
from stores.lease import lease

log = logging.getLogger(__name__)

_WAIT_S = 6 * 3600.0  # another ingest of the same cube ends sooner


@recipe_flow("ingest")
def ingest(recipe: str, overrides: list[str] | None = None, root: str | None = None) -> str:
    """Add what is new in the archive to the cube; with nothing new, nothing is written.

    Returns:
        The version of the cube.
    """
    resolved = open_writable_recipe(recipe, overrides, root)
    cube.check_units(resolved)
    cube.check_sources(resolved)
    found = cube.take_inventory(resolved)
    cube.check_archive(resolved, found)
    with lease(resolved.root, "cube", wait_s=_WAIT_S):
        plan = cube.plan_cube(resolved, found)
        with open_executor(
            pick_compute(resolved.compute, cube.estimate_seconds(plan))
        ) as executor:
            receipts = cube.write_frames(plan, resolve_workers(resolved.compute), executor)
        version = cube.commit(plan, receipts)
    if plan.is_empty:
        log.info("nothing new: cube %s has version %s", plan.path, version)
    return version
