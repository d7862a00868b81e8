"""What can be said before anything is written, and after everything was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flows.asked import cube_of, find_bundle, grid_of
from flows.console import console, show_sheet, show_table, warn
from flows.resolve import open_writable
from flows.runtime import describe, own_threads
from flows.sources import build_sources, check_said, tell_units
from flows.steps.cube import (
    check_archive,
    check_sources,
    ingest_memory,
    ingest_need,
)
from flows.steps.room import list_needs
from flows.workers import worker_share
from pipeline.budget import Workers
from pipeline.metrics import name_leads
from pipeline.models import ConvLSTM, count_parameters, outline_network
from pipeline.recipes import Recipe, date_recipe
from pipeline.rollout.plan import Rollout, RolloutPlan, plan_rollout
from pipeline.rollout.prepare import build_rollout
from pipeline.specs import build_fit_spec, build_rollout_spec, build_training_spec
from pipeline.split import LEARNED
from pipeline.streams.availability import Availability
from pipeline.streams.samples import Span
from pipeline.training.arithmetic import expect_arithmetic
from pipeline.training.cost import plan_memory
from pipeline.training.plan import describe_cut, describe_patches, plan_part
from pipeline.training.track import check_track
from stores.counting import count, show_bytes
from stores.cube import Cube
from stores.ingest_plan import IngestPlan, plan_ingest
from stores.inventory import take_inventory
from stores.times import Times, parse_end, parse_time

Rows = list[dict[str, Any]]


def check(recipe: str, overrides: Sequence[str], root: str | None) -> None:
    """Check a recipe and its archive, and print the plan of every flow; nothing is written.

    Raises:
        ArchiveError: names every problem of the archive.
        ValueError: the recipe asks for what cannot be, or for a package that is missing.
    """
    asked = _open(recipe, overrides, root)
    console.print(f"recipe {asked.name}: valid, fingerprint {asked.fingerprint()[:12]}")
    check_sources(asked)
    wanted = asked.archive
    found = take_inventory(
        wanted.root,
        build_sources(asked),
        asked.step,
        start=None if wanted.start is None else parse_time(wanted.start),
        end=None if wanted.end is None else parse_end(wanted.end),
    )
    show_sheet(f"archive {wanted.root}", found.rows(), key="variable")
    check_archive(asked, found)
    plan = plan_ingest(found, grid_of(asked), cube_of(asked))
    newest = max(plan.inputs.variables[asked.target.variable].frames)
    asked = date_recipe(asked, parse_time(newest))
    show_sheet(f"cube {plan.path}", plan.rows(), key="variable")
    workers = worker_share(asked.compute)
    rows = [
        *_cube_rows(plan),
        *_training_rows(asked, plan),
        *_rollout_rows(asked, plan, workers),
        *_memory_rows(asked, plan, workers),
        *_room_rows(asked, plan),
    ]
    show_table("plan", rows, columns=["what", "value"])
    console.print("nothing was written")


def _open(recipe: str, overrides: Sequence[str], root: str | None) -> Recipe:
    """Open a recipe, and refuse what needs no archive to be known."""
    asked = open_writable(recipe, overrides, root)
    check_track(asked.training.track)
    check_said(asked)
    tell_units(asked)
    for name in asked.rollout.bundles:
        find_bundle(asked, name)
    return asked


def _cube_rows(plan: IngestPlan) -> Rows:
    frames = count(len(plan.frames), "frame")
    n_bytes = len(plan.frames) * plan.frame_bytes
    return _rows(
        ("ingest", f"{frames} new, {count(plan.n_shards, 'shard')} to write"),
        ("ingest, bytes", f"{show_bytes(n_bytes)} before compression"),
        ("ingest, tasks", len(plan.frames)),
    )


def _training_rows(recipe: Recipe, plan: IngestPlan) -> Rows:
    available = _availability(recipe, plan.dates)
    training = build_training_spec(recipe)
    split = training.fit.split
    shape = plan.grid.height, plan.grid.width
    if cut := describe_cut(recipe.training.patch_px, shape):
        warn(cut)
    arithmetic = expect_arithmetic(
        training.device,
        training.precision,
        threads=own_threads(recipe.compute),
        ranks=training.ranks,
    )
    rows = _rows(
        ("computing on", describe(recipe.compute)),
        ("training on", arithmetic),
        ("network", f"{count_parameters(_network(recipe))} parameters"),
        ("channels", ", ".join(training.fit.stack.names)),
    )
    for part in split.parts:
        if part in LEARNED:
            found = plan_part(training, plan.dates, part)
            if part == "train":
                patches = describe_patches(training.patches, shape, len(found.inits))
                rows += _rows(("patches", patches))
        else:  # what is scored may still be to come
            stretches = split.stretches(part, available.step)
            found = available.plan_inits(stretches, _span(recipe))
            if not found.inits:
                _tell_no_init(recipe, part, available)
        n_frames = len(split.frames(part, available.step))
        counted = (count(n_frames, "frame"), count(len(found.inits), "init"), *found.notes)
        dates = split.show(part, available.step)
        rows += _rows((f"{part} part", f"{dates}: {', '.join(counted)}"))
    said = split.words(recipe.step)
    return rows + (_rows(("split", said)) if said else [])


def _tell_no_init(recipe: Recipe, part: str, available: Availability) -> None:
    """Warn of a part whose frames may still come; refuse one that never holds an init.

    Raises:
        ValueError: no frame of it is to come, or too few lie on the series.
    """
    target = available.target
    step = available.step
    split = recipe.split.to_split()
    stretches = split.stretches(part, step)
    ends = split.show(part, step) or "no frame of the series"
    said = (
        f"the {part} part ({ends}) has no init of {count(_span(recipe).history, 'frame')} of "
        f"history and {count(recipe.rollout.leads, 'lead')}, so nothing can be scored on it; "
        f"{recipe.target.variable} has {count(len(target), 'frame')} from "
        f"{step.ends(target[0], target[-1])}: compare 'files' with the archive, or change the "
        "split"
    )
    needed = _span(recipe).history + recipe.rollout.leads
    may_come = any(len(s) >= needed and s[-1] > target[-1] for s in stretches)
    if not may_come:
        raise ValueError(said)
    warn(said)


def init_rows(recipe: Recipe, dates: Mapping[str, Times]) -> list[tuple[str, str]]:
    """Say what a forecast from the last frame of the target would know of every covariate.

    Raises:
        ValueError: it cannot be made.
    """
    available = _availability(recipe, dates)
    init = available.target[-1]
    available.check(_span(recipe), init)
    supplies = available.supplies(_span(recipe), init)
    told = [(supply.name, str(supply)) for supply in supplies]
    return [("init", recipe.step.show(init)), *told]


def _availability(recipe: Recipe, dates: Mapping[str, Times]) -> Availability:
    step = recipe.step.of_series(dates[recipe.target.variable][0])
    return Availability(build_fit_spec(recipe).stack, dates, step)


def _span(recipe: Recipe) -> Span:
    return Span(recipe.rollout.history, recipe.rollout.leads)


def _rollout_rows(recipe: Recipe, plan: IngestPlan, workers: Workers) -> Rows:
    leads, shape = recipe.rollout.leads, (plan.grid.height, plan.grid.width)
    tiles = _plan_tiles(recipe, shape, workers)
    n_bytes = leads * shape[0] * shape[1] * 4
    further = "".join(f", {name}" for name in recipe.rollout.bundles)
    return _rows(
        ("forecast, models", f"current bundle of {recipe.name}{further}"),
        ("forecast, members", recipe.rollout.members),
        ("forecast, leads", _describe_leads(recipe)),
        *((f"forecast, {what}", value) for what, value in init_rows(recipe, plan.dates)),
        *((f"forecast, {what}", value) for what, value in tiles.rows()),
        (
            "forecast, bytes",
            f"{show_bytes(n_bytes)} before compression, {count(leads, 'COG')}",
        ),
    )


def _describe_leads(recipe: Recipe) -> str:
    """Count the leads, and say which of them rest on scores alone."""
    leads, trained = recipe.rollout.leads, recipe.training.leads
    if leads <= trained:
        return str(leads)
    beyond = name_leads(range(trained + 1, leads + 1))
    return (
        f"{leads}; {beyond}: beyond the training.leads={trained} that training rolls out, so "
        "as good as their scores say"
    )


def _memory_rows(recipe: Recipe, plan: IngestPlan, workers: Workers) -> Rows:
    """Say what the processes of every step need, and refuse what no worker has.

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
    rows = ((f"memory, {what}", one) for what, one in planned.items())
    return _rows(("workers", workers), *rows)


def _room_rows(recipe: Recipe, plan: IngestPlan) -> Rows:
    """Say what every step needs on its disk, and refuse what has no room there.

    Raises:
        FullError: says what it takes, and what the disk has left.
    """
    cube = Cube.open(plan.path) if plan.path.exists() else None
    needs = {"ingest": ingest_need(plan)}
    needs |= list_needs(recipe, (plan.grid.height, plan.grid.width), cube)
    for need in needs.values():
        need.check()
    return _rows(*((f"disk, {what}", need) for what, need in needs.items()))


def _plan_tiles(
    recipe: Recipe, shape: tuple[int, int], workers: Workers, *, is_scored: bool = False
) -> RolloutPlan:
    rollout, stated = describe_rollout(recipe, shape), recipe.rollout
    return plan_rollout(
        replace(rollout, is_scored=is_scored),
        workers,
        core_px=stated.tile_px,
        block_leads=rollout.leads if is_scored else stated.block_leads,
    )


def describe_rollout(recipe: Recipe, shape: tuple[int, int]) -> Rollout:
    """Describe the recipe's rollout on a grid of ``shape`` (y, x); no model is needed."""
    network = _network(recipe)
    spec = build_rollout_spec(recipe)
    return build_rollout(spec, shape, network.reach, network.shape, spec.leads)


def _network(recipe: Recipe) -> ConvLSTM:
    return outline_network(build_training_spec(recipe).network)


def _rows(*pairs: tuple[str, Any]) -> Rows:
    return [{"what": what, "value": str(value)} for what, value in pairs]
