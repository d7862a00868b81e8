"""Steps from an archive to a cube."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial

from flows.artifacts import ProgressArtifact, create_table
from flows.console import progress_bar, show_transposed_table
from flows.paths import cube_path
from flows.recipe_store import resolve_grid
from flows.steps import worker_tasks
from flows.steps.memory import measure_memory
from flows.steps.step import step
from pipeline.executors import Executor
from pipeline.memory import MemoryPlan, WorkerPool
from pipeline.recipes import Recipe
from stores import ingest, inventory, units
from stores.archive import SourceVariable
from stores.cube import Cube
from stores.disk_space import SpaceRequirement
from stores.errors import ArchiveError
from stores.formatting import pluralize
from stores.ingest import FrameReceipt
from stores.ingest_pending import pending_bytes
from stores.ingest_plan import IngestPlan, plan_ingest
from stores.ingest_size import estimate_bytes
from stores.inventory import Inventory
from stores.times import Time, Times, parse_end, parse_time
from stores.unmatched import list_unmatched

log = logging.getLogger(__name__)

_FRAME_S = 0.02  # measured on small frames
_BYTES_PER_S = 2e8  # measured on frames of 36 Mpx


@step
def take_inventory(recipe: Recipe) -> Inventory:
    """Read every file of the archive and show what was found."""
    archive = recipe.archive
    with progress_bar("reading the archive") as on_progress:
        found = inventory.scan_archive(
            archive.root,
            build_sources(recipe),
            recipe.step,
            start=_time(archive.start),
            end=None if archive.end is None else parse_end(archive.end),
            on_progress=on_progress,
        )
    show_transposed_table(f"archive {archive.root}", found.rows(), key="variable")
    create_table("inventory", found.rows(), description=f"Archive {archive.root}")
    return found


def check_units(recipe: Recipe) -> None:
    """Refuse units that are none, and warn of those that do not fit their standard name.

    Raises:
        ValueError: names the keys, and the nearest units.
    """
    refused = []
    for name, variable in recipe.archive.variables.items():
        key = f"archive.variables.{name}"
        try:
            units.check_units(variable.units)
        except ValueError as error:
            refused.append(f"  {key}.units: {error}")
            continue
        if variable.standard_name is not None and (
            mismatch := units.find_mismatch(variable.units, variable.standard_name)
        ):
            log.warning("%s: %s", key, mismatch)
    if refused:
        raise ValueError("\n".join([f"recipe {recipe.name} is refused:", *refused]))


def check_sources(recipe: Recipe) -> None:
    """Refuse a grid that no cube can lie on, and files that cannot come onto it.

    Only headers are read.

    Raises:
        GridError: says which grid it is and a way out.
    """
    inventory.check_sources(
        recipe.archive.root, build_sources(recipe), recipe.step, resolve_grid(recipe)
    )


def check_archive(recipe: Recipe, found: Inventory) -> None:
    """Refuse what cannot be ingested, before anything is written.

    Raises:
        ArchiveError: names every problem.
        DiskFullError: what is new does not fit on the cube's disk.
    """
    for unread in list_unmatched(recipe.archive.root, build_sources(recipe)):
        unread.check()
        log.warning("%s", unread)
    found.check(accept_gaps=recipe.archive.gaps == "accept")
    check_bounds(recipe, found)
    for warning in (*found.find_outliers(), *found.unapplied()):
        log.warning("%s", warning)
    plan = plan_ingest(found, resolve_grid(recipe), cube_path(recipe))
    plan.check()
    ingest_space(plan).check()


def check_bounds(recipe: Recipe, found: Inventory) -> None:
    """Refuse bounds of what is published that leave out all that was observed.

    Raises:
        ValueError: shows both ranges.
    """
    target = recipe.target
    counts = found.series[target.variable].pixel_counts
    too_high = target.minimum is not None and target.minimum > counts.maximum
    too_low = target.maximum is not None and target.maximum < counts.minimum
    if too_high or too_low:
        raise ValueError(
            f"target.minimum={target.minimum} and target.maximum={target.maximum} leave out "
            f"all of {target.variable!r}, which lies from {counts.minimum:g} to "
            f"{counts.maximum:g} {recipe.target_variable.units}, so one value would be "
            "published everywhere; write bounds in the units of the archive"
        )


@step
def plan_cube(recipe: Recipe, found: Inventory) -> IngestPlan:
    """Compare the archive with the cube, and show what is new."""
    plan = plan_ingest(found, resolve_grid(recipe), cube_path(recipe), title=recipe.title)
    plan.check()
    show_transposed_table(f"cube {plan.path}", plan.rows(), key="variable")
    create_table("ingest-plan", plan.rows(), description=f"Frames for {plan.path}")
    return plan


@step
def write_frames(
    plan: IngestPlan, workers: WorkerPool, executor: Executor
) -> list[FrameReceipt]:
    """Write the frames that are new; a rerun skips those that are written."""
    memory = ingest_memory(plan, workers)
    memory.check(workers)
    ingest.prepare_cube(plan)
    frames = [(frame.variable, frame.key) for frame in plan.frames]
    page = ProgressArtifact("ingest", f"Frames of {plan.path}")
    receipts = []
    with (
        measure_memory("ingest", memory, executor),
        progress_bar("writing frames") as on_progress,
    ):
        for _, receipt in executor.map_unordered(
            partial(worker_tasks.write_frame, plan.path), frames
        ):
            receipts.append(receipt)
            on_progress(len(receipts), len(frames))
            page.update(len(receipts), len(frames))
    return receipts


@step
def commit(plan: IngestPlan, receipts: Sequence[FrameReceipt]) -> str:
    """Make all new frames visible at once; return the cube's version."""
    return ingest.commit_cube(plan, receipts)


def find_dates(recipe: Recipe) -> Mapping[str, Times]:
    """Read the dates of every variable: those of the cube, or before it is made of the files.

    Raises:
        ArchiveError: there is neither, or a variable has no file.
    """
    if cube_path(recipe).exists():
        return Cube.open(cube_path(recipe)).dates
    archive = recipe.archive
    found = inventory.list_archive(
        archive.root,
        build_sources(recipe),
        recipe.step,
        start=_time(archive.start),
        end=None if archive.end is None else parse_end(archive.end),
    )
    empty = [d.variable.name for d in found if d.cadence != "static" and not len(d.times)]
    if empty:
        raise ArchiveError(
            f"archive {archive.root} has no file of {', '.join(empty)}, so nothing can be "
            "forecast; 'cubecast check' says which files are near"
        )
    return {dates.variable.name: dates.times for dates in found}


def ingest_memory(plan: IngestPlan, workers: WorkerPool) -> MemoryPlan:
    """Plan the memory of an ingest, which writes a frame shard by shard."""
    return MemoryPlan("a frame", plan.task_bytes, workers.base_bytes)


def ingest_space(plan: IngestPlan) -> SpaceRequirement:
    """Estimate what the frames that are new need on the disk."""
    held = pending_bytes(plan.path)
    n = len(plan.frames)
    return SpaceRequirement(
        f"an ingest of {pluralize(n, 'frame')}",
        plan.path,
        n * plan.frame_bytes - held,
        lambda: estimate_bytes(plan) - held,
    )


def estimate_seconds(plan: IngestPlan) -> float:
    """Estimate how long one process writes what is new [s]."""
    read_px = {variable.source.name: variable.source_px for variable in plan.variables}
    n_bytes = sum(4 * read_px[frame.variable] + plan.frame_bytes for frame in plan.frames)
    return len(plan.frames) * _FRAME_S + n_bytes / _BYTES_PER_S


def build_sources(recipe: Recipe) -> list[SourceVariable]:
    """Turn the variables of a recipe into plain values."""
    return [
        SourceVariable(
            name=name,
            files=variable.files,
            units=variable.units,
            long_name=variable.long_name,
            standard_name=variable.standard_name,
            is_classes=variable.kind == "classes",
            resampling=variable.resampling,
            band=variable.band,
            nodata=variable.nodata,
            valid_range=variable.valid_range,
            share_of=variable.share_of,
            cell_methods=variable.cell_methods,
        )
        for name, variable in recipe.archive.variables.items()
    ]


def _time(text: str | None) -> Time | None:
    return None if text is None else parse_time(text)
