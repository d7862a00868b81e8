"""From a recipe to a rollout that can be made, or to a clear reason why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.budget import Workers
from pipeline.metrics.calibration import Calibration
from pipeline.models import ConvLSTMShape, Reach, Reading, read_shape
from pipeline.recipes import MOST_STEPS, Recipe
from pipeline.rollout.device import pick_device, share_of
from pipeline.rollout.plan import Rollout, RolloutPlan, plan_rollout
from pipeline.rollout.request import Members, Request
from pipeline.rollout.trained import check_known
from pipeline.streams.availability import Availability
from pipeline.streams.samples import Span
from pipeline.streams.stack import Stack, wanted_transforms
from pipeline.streams.statistics import count_seasons
from stores import grid as grids
from stores.bundle import Bundle, bundle_folder, check_bundle_fits, open_bundle
from stores.cube import Cube
from stores.times import Times, parse_time


def build_request(
    recipe: Recipe,
    bundle: Bundle,
    cube: Cube,
    *,
    init: str | None,
    leads: int | None,
    calibration: Calibration | None = None,
) -> Request:
    """Build the request for one forecast and check that it can be made.

    Raises:
        GridError: the bundle was trained on another grid.
        ValueError: the cube lacks history or covariates for this init, or further bundles are
            of another kind.
    """
    check_bundle_fits(grids.from_json(bundle.description["grid"]), cube.grid)
    _check_target(recipe, bundle)
    available = availability_of(bundle, cube)
    time = available.target[-1] if init is None else cube.step.floor(parse_time(init))
    wanted = recipe.rollout.leads if leads is None else leads
    _check_leads(wanted)
    reading, span = reading_of(bundle), span_of(bundle, wanted)
    available.check(span, time)
    rollout = recipe.rollout
    return Request(
        bundles=(bundle.path, *_further(rollout.bundles, bundle)),
        cube=cube.path,
        init=time,
        leads=span.leads,
        minimum=recipe.target.minimum,
        maximum=recipe.target.maximum,
        device=pick_device(recipe.compute.device),
        precision=rollout.precision,
        mode=rollout.mode,
        taper=rollout.taper,
        members=_build_members(recipe, bundle, reading),
        quantiles=reading.quantiles,
        calibration=calibration,
    )


def _check_leads(leads: int) -> None:
    """Refuse a forecast of nothing, or of more than any series holds.

    Raises:
        ValueError: says how many leads can be asked for.
    """
    if not 1 <= leads <= MOST_STEPS:
        raise ValueError(
            f"leads={leads} is no forecast of 1 to {MOST_STEPS} steps; ask for fewer or more"
        )


def reading_of(bundle: Bundle) -> Reading:
    """Say how a bundle reads, in today's words, whatever wrote it."""
    return Reading(**bundle.description["reading"])


def span_of(bundle: Bundle, leads: int) -> Span:
    """Give the frames of a rollout of a bundle: the recipe of the moment cannot change them."""
    return Span.of(reading_of(bundle), leads)


def availability_of(bundle: Bundle, cube: Cube) -> Availability:
    """Say which dates a cube has of what a bundle reads."""
    stack = Stack.from_json(bundle.description["stack"])
    return Availability(stack, cube.dates, cube.step)


def list_read(bundle: Bundle, cube: Cube, request: Request) -> list[str]:
    """Name the files of a cube that a forecast reads, each once, by their paths in it."""
    stack, span = Stack.from_json(bundle.description["stack"]), span_of(bundle, request.leads)
    read: list[tuple[str, Times | None]] = [
        (stack.target.variable, span.read_times(cube.step, request.init))
    ]
    supplies = availability_of(bundle, cube).supplies(span, request.init)
    read += [(supply.name, supply.known.times) for supply in supplies]
    read += [(static.series.variable, None) for static in stack.statics if static.series]
    return list(
        dict.fromkeys(file for name, times in read for file in cube.files_of(name, times))
    )


def _build_members(recipe: Recipe, bundle: Bundle, reading: Reading) -> Members:
    """Say what makes members differ; one forecast alone is disturbed by nothing.

    Raises:
        ValueError: the network gives quantiles, so it has no members.
    """
    n, perturb = recipe.rollout.members, recipe.rollout.perturb
    if n == 1:
        return Members()
    if reading.quantiles:
        raise ValueError(
            f"bundle {bundle.path.name!r} forecasts quantiles, and each of rollout.members={n} "
            "would give its own, which no statistic joins; set rollout.members=1 and no "
            "rollout.bundles, or train with loss crps for an ensemble"
        )
    drops = perturb.dropout and bundle.description["network"]["dropout"] > 0
    return Members(n, perturb.seed, drops, perturb.noise, perturb.noise_px)


def _further(names: Sequence[str], first: Bundle) -> Iterator[Path]:
    """Find further bundles, and refuse those that read other channels than the first.

    Raises:
        ValueError: a bundle is of another kind.
    """
    for name in names:
        bundle = open_bundle(bundle_folder(first.path.parent, name))
        check_known(bundle)
        for what in ("stack", "reading", "grid", "step"):
            if _known(bundle, what) != _known(first, what):
                raise ValueError(
                    f"bundle {name!r} has another {what!r} than {first.path.name!r}, so it "
                    "would be shown what it never learned to read; name bundles that were "
                    "trained on the same cube with the same channels and split"
                )
        yield bundle.path


def _known(bundle: Bundle, what: str) -> object:
    """Look up what a bundle says."""
    return reading_of(bundle) if what == "reading" else bundle.description[what]


def build_plan(
    recipe: Recipe,
    bundle: Bundle,
    cube: Cube,
    leads: int,
    workers: Workers,
    *,
    one_block: bool = False,
) -> RolloutPlan:
    """Plan tiles and blocks of a rollout; hindcasts keep all leads in memory, in one block."""
    shape = (cube.grid.height, cube.grid.width)
    reach, network = Reach(**bundle.description["reach"]), bundle.description["network"]
    rollout = build_rollout(recipe, shape, reach, read_shape(network), leads)
    rollout = replace(rollout, is_scored=one_block)
    workers = share_of(workers, pick_device(recipe.compute.device))
    block_leads = leads if one_block else recipe.rollout.block_leads
    return plan_rollout(
        rollout, workers, core_px=recipe.rollout.tile_px, block_leads=block_leads
    )


def build_rollout(
    recipe: Recipe,
    shape: tuple[int, int],
    reach: Reach,
    network: ConvLSTMShape,
    leads: int,
) -> Rollout:
    """Describe what a recipe rolls out over a grid of ``shape`` (y, x)."""
    stated = recipe.rollout
    return Rollout(
        shape,
        reach,
        network,
        leads,
        members=stated.members,
        mode=stated.mode,
        taper_px=stated.taper_px,
        batch=stated.batch,
        n_fields=count_fields(recipe),
    )


def count_fields(recipe: Recipe) -> int:
    """Count the maps of climatologies that a tile may read: one a season and variable."""
    wanted = wanted_transforms(recipe).values()
    n_variables = 1 + sum("anomaly" in transforms for transforms in wanted)  # and the baseline
    return n_variables * count_seasons(recipe)


def _check_target(recipe: Recipe, bundle: Bundle) -> None:
    trained = bundle.description["stack"]["target"]["variable"]
    if trained != recipe.target.variable:
        raise ValueError(
            f"the bundle forecasts {trained!r} but the recipe's target is "
            f"{recipe.target.variable!r}, so values would stand under a wrong name; "
            "train the recipe, or name a bundle of its own with --bundle"
        )
