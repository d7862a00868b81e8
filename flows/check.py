"""What can be said before anything is written, and after everything was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flows.console import (
    console,
    echo_warning,
    show_table,
    show_transposed_table,
)
from flows.paths import cube_path
from flows.recipe_store import find_bundle, resolve_grid
from flows.resolve import open_writable_recipe
from flows.runtime import describe_compute, local_threads
from flows.steps.cube import (
    build_sources,
    check_archive,
    check_sources,
    check_units,
    ingest_memory,
    ingest_space,
)
from flows.steps.disk_space import list_space_requirements
from flows.workers import resolve_workers
from pipeline.memory import WorkerPool
from pipeline.metrics import format_leads
from pipeline.models import ConvLSTM, build_meta_network, count_parameters
from pipeline.recipes import Recipe, resolve_dates
from pipeline.rollout.prepare import build_rollout
from pipeline.rollout.rollout_plan import RolloutPlan, RolloutWorkload, plan_rollout
from pipeline.specs import build_fit_spec, build_rollout_spec, build_training_spec
from pipeline.split import FITTED_PARTS
from pipeline.streams.availability import Availability
from pipeline.streams.samples import RolloutSpan
from pipeline.training.environment import expected_environment
from pipeline.training.memory import plan_memory
from pipeline.training.trackers import check_trackers
from pipeline.training.training_plan import (
    describe_clipped_patch,
    describe_patches,
    plan_part_inits,
)
from stores.cube import Cube
from stores.formatting import format_bytes, pluralize
from stores.ingest_plan import IngestPlan, plan_ingest
from stores.inventory import scan_archive
from stores.times import Times, parse_end, parse_time

Rows = list[dict[str, Any]]


def check(recipe: str, overrides: Sequence[str], root: str | None) -> None:
    """Check a recipe and its archive, and print the plan of every flow; nothing is written.

    Raises:
        ArchiveError: names every problem of the archive.
        ValueError: the recipe asks for what cannot be, or for a package that is missing.
    """
    resolved = _open(recipe, overrides, root)
    console.print(f"recipe {resolved.name}: valid, fingerprint {resolved.fingerprint()[:12]}")
    check_sources(resolved)
    archive = resolved.archive
    found = scan_archive(
        archive.root,
        build_sources(resolved),
        resolved.step,
        start=None if archive.start is None else parse_time(archive.start),
        end=None if archive.end is None else parse_end(archive.end),
    )
    show_transposed_table(f"archive {archive.root}", found.rows(), key="variable")
    check_archive(resolved, found)
    plan = plan_ingest(found, resolve_grid(resolved), cube_path(resolved))
    newest = max(plan.inputs.variables[resolved.target.variable].frames)
    resolved = resolve_dates(resolved, parse_time(newest))
    show_transposed_table(f"cube {plan.path}", plan.rows(), key="variable")
    workers = resolve_workers(resolved.compute)
    rows = [
        *_cube_rows(plan),
        *_training_rows(resolved, plan),
        *_rollout_rows(resolved, plan, workers),
        *_memory_rows(resolved, plan, workers),
        *_disk_rows(resolved, plan),
    ]
    show_table("plan", rows, columns=["what", "value"])
    console.print("nothing was written")


def _open(recipe: str, overrides: Sequence[str], root: str | None) -> Recipe:
    """Open a recipe, and refuse what needs no archive to be known."""
    resolved = open_writable_recipe(recipe, overrides, root)
    check_trackers(resolved.training.track)
    check_units(resolved)
    for name in resolved.rollout.bundles:
        find_bundle(resolved, name)
    return resolved


def _cube_rows(plan: IngestPlan) -> Rows:
    frames = pluralize(len(plan.frames), "frame")
    n_bytes = len(plan.frames) * plan.frame_bytes
    return _rows(
        ("ingest", f"{frames} new, {pluralize(plan.n_shards, 'shard')} to write"),
        ("ingest, bytes", f"{format_bytes(n_bytes)} before compression"),
        ("ingest, tasks", len(plan.frames)),
    )


def _training_rows(recipe: Recipe, plan: IngestPlan) -> Rows:
    available = _availability(recipe, plan.dates)
    training = build_training_spec(recipe)
    split = training.fit.split
    shape = plan.grid.height, plan.grid.width
    if cut := describe_clipped_patch(recipe.training.patch_px, shape):
        echo_warning(cut)
    arithmetic = expected_environment(
        training.device,
        training.precision,
        threads=local_threads(recipe.compute),
        ranks=training.ranks,
    )
    rows = _rows(
        ("computing on", describe_compute(recipe.compute)),
        ("training on", arithmetic),
        ("network", f"{count_parameters(_network(recipe))} parameters"),
        ("channels", ", ".join(training.fit.stack.names)),
    )
    for part in split.parts:
        if part in FITTED_PARTS:
            found = plan_part_inits(training, plan.dates, part)
            if part == "train":
                patches = describe_patches(training.patches, shape, len(found.inits))
                rows += _rows(("patches", patches))
        else:  # what is scored may still be to come
            segments = split.segments(part, available.step)
            found = available.plan_inits(segments, _span(recipe))
            if not found.inits:
                _report_no_init(recipe, part, available)
        n_frames = len(split.frames(part, available.step))
        counted = (
            pluralize(n_frames, "frame"),
            pluralize(len(found.inits), "init"),
            *found.notes,
        )
        dates = split.format_part(part, available.step)
        rows += _rows((f"{part} part", f"{dates}: {', '.join(counted)}"))
    description = split.describe(recipe.step)
    return rows + (_rows(("split", description)) if description else [])


def _report_no_init(recipe: Recipe, part: str, available: Availability) -> None:
    """Warn of a part whose frames may still come; refuse one that never holds an init.

    Raises:
        ValueError: no frame of it is to come, or too few lie on the series.
    """
    target = available.target
    step = available.step
    split = recipe.split.to_split()
    segments = split.segments(part, step)
    dates = split.format_part(part, step) or "no frame of the series"
    message = (
        f"the {part} part ({dates}) has no init of "
        f"{pluralize(_span(recipe).history, 'frame')} of history and "
        f"{pluralize(recipe.rollout.leads, 'lead')}, so nothing can be scored on it; "
        f"{recipe.target.variable} has {pluralize(len(target), 'frame')} from "
        f"{step.label_range(target[0], target[-1])}: compare 'files' with the archive, or "
        "change the split"
    )
    needed = _span(recipe).history + recipe.rollout.leads
    may_come = any(len(s) >= needed and s[-1] > target[-1] for s in segments)
    if not may_come:
        raise ValueError(message)
    echo_warning(message)


def init_rows(recipe: Recipe, dates: Mapping[str, Times]) -> list[tuple[str, str]]:
    """List what a forecast from the last frame of the target would know of every covariate.

    Raises:
        ValueError: it cannot be made.
    """
    available = _availability(recipe, dates)
    init = available.target[-1]
    available.check(_span(recipe), init)
    supplies = available.forcing_supplies(_span(recipe), init)
    covariates = [(supply.name, str(supply)) for supply in supplies]
    return [("init", recipe.step.format(init)), *covariates]


def _availability(recipe: Recipe, dates: Mapping[str, Times]) -> Availability:
    step = recipe.step.of_series(dates[recipe.target.variable][0])
    return Availability(build_fit_spec(recipe).stack, dates, step)


def _span(recipe: Recipe) -> RolloutSpan:
    return RolloutSpan(recipe.rollout.history, recipe.rollout.leads)


def _rollout_rows(recipe: Recipe, plan: IngestPlan, workers: WorkerPool) -> Rows:
    leads = recipe.rollout.leads
    shape = plan.grid.height, plan.grid.width
    tiles = _plan_tiles(recipe, shape, workers)
    n_bytes = leads * shape[0] * shape[1] * 4
    further = "".join(f", {name}" for name in recipe.rollout.bundles)
    return _rows(
        ("forecast, models", f"current bundle of {recipe.name}{further}"),
        ("forecast, members", recipe.rollout.members),
        ("forecast, leads", _describe_leads(recipe)),
        *((f"forecast, {what}", value) for what, value in init_rows(recipe, plan.dates)),
        *((f"forecast, {what}", value) for what, value in tiles.summary_rows()),
        (
            "forecast, bytes",
            f"{format_bytes(n_bytes)} before compression, {pluralize(leads, 'COG')}",
        ),
    )


def _describe_leads(recipe: Recipe) -> str:
    """Count the leads, and say which of them rest on scores alone."""
    leads = recipe.rollout.leads
    trained = recipe.training.leads
    if leads <= trained:
        return str(leads)
    beyond = format_leads(range(trained + 1, leads + 1))
    return (
        f"{leads}; {beyond}: beyond the training.leads={trained} that training rolls out, so "
        "as good as their scores say"
    )


def _memory_rows(recipe: Recipe, plan: IngestPlan, workers: WorkerPool) -> Rows:
    """List what the processes of every step need, and refuse what no worker has.

    Raises:
        ValueError: says the smallest change that would do.
    """
    shape = plan.grid.height, plan.grid.width
    training = plan_memory(build_training_spec(recipe), shape, workers)
    hindcasts = _plan_tiles(recipe, shape, workers, is_scored=True)
    ingest = ingest_memory(plan, workers)
    ingest.check(workers)
    training.check(workers)
    planned = {
        "ingest": ingest,
        "train, reading": training.reader,
        "train, learning": training.trainer,
        "evaluate": hindcasts.memory,
    }
    rows = ((f"memory, {what}", memory) for what, memory in planned.items())
    return _rows(("workers", workers), *rows)


def _disk_rows(recipe: Recipe, plan: IngestPlan) -> Rows:
    """List what every step needs on its disk, and refuse what does not fit.

    Raises:
        DiskFullError: says what it takes, and what the disk has left.
    """
    cube = Cube.open(plan.path) if plan.path.exists() else None
    needs = {"ingest": ingest_space(plan)}
    needs |= list_space_requirements(recipe, (plan.grid.height, plan.grid.width), cube)
    for need in needs.values():
        need.check()
    return _rows(*((f"disk, {what}", need) for what, need in needs.items()))


def _plan_tiles(
    recipe: Recipe, shape: tuple[int, int], workers: WorkerPool, *, is_scored: bool = False
) -> RolloutPlan:
    rollout = describe_rollout(recipe, shape)
    stated = recipe.rollout
    return plan_rollout(
        replace(rollout, is_scored=is_scored),
        workers,
        core_px=stated.tile_px,
        block_leads=rollout.leads if is_scored else stated.block_leads,
    )


def describe_rollout(recipe: Recipe, shape: tuple[int, int]) -> RolloutWorkload:
    """Describe the recipe's rollout on a grid of ``shape`` (y, x); no model is needed."""
    network = _network(recipe)
    spec = build_rollout_spec(recipe)
    return build_rollout(spec, shape, network.reach, network.shape, spec.leads)


def _network(recipe: Recipe) -> ConvLSTM:
    return build_meta_network(build_training_spec(recipe).network)


def _rows(*pairs: tuple[str, Any]) -> Rows:
    return [{"what": what, "value": str(value)} for what, value in pairs]
