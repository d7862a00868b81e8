"""What can be said before anything is written, and after everything was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.asked import cube_of, grid_of, open_recipe
from flows.console import console, show_sheet, show_table
from flows.runtime import describe, worker_share
from flows.steps.cube import build_sources, check_archive
from pipeline.models import ConvLSTM, count_parameters
from pipeline.recipes import PARTS, Recipe
from pipeline.rollout.plan import Rollout, plan_rollout
from pipeline.rollout.prepare import build_rollout
from pipeline.streams.samples import Span, plan_inits
from pipeline.streams.stack import build_stack, wanted_transforms
from pipeline.training.build import build_shape
from pipeline.training.track import check_track
from stores.ingest_plan import IngestPlan, plan_ingest
from stores.inventory import take_inventory
from stores.times import parse_time
from stores.verify import verify as find_damage

Rows = list[dict[str, Any]]


def check(recipe: str, overrides: Sequence[str], root: str | None) -> None:
    """Check a recipe and its archive, and print the plan of every flow; nothing is written.

    Raises:
        ArchiveError: names every problem of the archive.
        ValueError: the recipe asks for what cannot be, or for a package that is missing.
    """
    asked = open_recipe(recipe, overrides, root)
    check_track(asked.training.track)
    console.print(f"recipe {asked.name}: valid, fingerprint {asked.fingerprint()[:12]}")
    wanted = asked.archive
    found = take_inventory(
        wanted.root,
        build_sources(asked),
        asked.step,
        start=None if wanted.start is None else parse_time(wanted.start),
        end=None if wanted.end is None else parse_time(wanted.end),
    )
    show_sheet(f"archive {wanted.root}", found.rows(), key="variable")
    check_archive(asked, found)
    plan = plan_ingest(found, grid_of(asked), cube_of(asked))
    show_sheet(f"cube {plan.path}", plan.rows(), key="variable")
    rows = [*_cube_rows(plan), *_training_rows(asked, plan), *_rollout_rows(asked, plan)]
    show_table("plan", rows, columns=["what", "value"])
    console.print("nothing was written")


def verify(paths: Sequence[Path]) -> bool:
    """Print what is missing or altered below each path; tell whether all is sound."""
    is_sound = True
    for path in paths:
        findings = find_damage(path)
        is_sound &= not findings
        said = f"{path}: {len(findings)} findings" if findings else f"{path}: sound"
        console.print(said, style="red" if findings else "green", markup=False)
        for finding in findings:
            console.print(f"  {finding}", markup=False, highlight=False, soft_wrap=True)
    return is_sound


def _cube_rows(plan: IngestPlan) -> Rows:
    n_bytes = len(plan.frames) * plan.frame_bytes
    return _rows(
        ("ingest", f"{len(plan.frames)} frames new, {plan.n_shards} shards to write"),
        ("ingest, bytes", f"{n_bytes / 1e6:.1f} MB before compression"),
        ("ingest, tasks", len(plan.frames)),
    )


def _training_rows(recipe: Recipe, plan: IngestPlan) -> Rows:
    history, training = recipe.rollout.history, recipe.training
    network = build_shape(recipe, len(_channels(recipe)))
    rows = _rows(
        ("computing on", describe(recipe.compute)),
        ("network", f"{count_parameters(ConvLSTM(network))} parameters"),
        ("channels", ", ".join(_channels(recipe))),
    )
    step = recipe.step.of_series(plan.times[0])
    for part in PARTS:
        leads = recipe.rollout.leads if part == "test" else training.leads
        stretches = recipe.split.stretches(part, step)
        inits = plan_inits(stretches, plan.times, Span(history, leads))
        n_frames, dates = sum(map(len, stretches)), recipe.split.label(part, step)
        rows += _rows((f"{part} part", f"{dates}: {n_frames} frames, {len(inits)} inits"))
    said = recipe.split.words(recipe.step)
    return rows + (_rows(("split", said)) if said else [])


def _rollout_rows(recipe: Recipe, plan: IngestPlan) -> Rows:
    leads, shape = recipe.rollout.leads, (plan.grid.height, plan.grid.width)
    rollout, stated = describe_rollout(recipe, shape), recipe.rollout
    tiles = plan_rollout(
        rollout,
        worker_share(recipe.compute),
        core_px=stated.tile_px,
        block_leads=stated.block_leads,
    )
    n_bytes = leads * shape[0] * shape[1] * 4
    return _rows(
        *((f"forecast, {what}", value) for what, value in tiles.rows()),
        ("forecast, bytes", f"{n_bytes / 1e6:.1f} MB before compression, {leads} COGs"),
    )


def describe_rollout(recipe: Recipe, shape: tuple[int, int]) -> Rollout:
    """Describe the recipe's rollout on a grid of ``shape`` (y, x); no model is needed."""
    network = build_shape(recipe, len(_channels(recipe)))
    return build_rollout(recipe, shape, ConvLSTM(network).reach, network, recipe.rollout.leads)


def _channels(recipe: Recipe) -> tuple[str, ...]:
    return build_stack(recipe, dict.fromkeys(wanted_transforms(recipe), ())).names


def _rows(*pairs: tuple[str, Any]) -> Rows:
    return [{"what": what, "value": str(value)} for what, value in pairs]
