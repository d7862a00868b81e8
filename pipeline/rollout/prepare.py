"""Build the request and the plan of a rollout, or raise a clear reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.limits import MAX_STEPS
from pipeline.memory import WorkerPool
from pipeline.metrics.calibration import Calibration
from pipeline.models import ConvLSTMSpec, Reach, StepSpec, parse_network_spec
from pipeline.rollout.device import limit_to_gpus, pick_device
from pipeline.rollout.request import EnsembleSpec, ForecastRequest, RolloutSpec
from pipeline.rollout.rollout_plan import RolloutPlan, RolloutWorkload, plan_rollout
from pipeline.streams.availability import Availability
from pipeline.streams.input_stack import InputStack
from pipeline.streams.samples import RolloutSpan
from stores import grid as grids
from stores.bundle import Bundle, check_bundle_fits
from stores.cube import Cube
from stores.times import Times, parse_time


def build_request(
    spec: RolloutSpec,
    bundles: Sequence[Bundle],
    cube: Cube,
    *,
    init: str | None,
    leads: int | None,
    calibration: Calibration | None = None,
) -> ForecastRequest:
    """Build the request for one forecast and check that it can be made.

    Args:
        spec: how it is rolled out.
        bundles: models of one kind; members are assigned to them in turn.
        cube: what they read.
        init: last frame that is known; the target's newest by default.
        leads: frames that are forecast; those of the spec by default.
        calibration: margins of the intervals.

    Raises:
        GridError: the bundle was trained on another grid.
        ValueError: the cube lacks history or covariates for this init, or further bundles are
            of another kind.
    """
    bundle, *others = bundles
    check_bundle_fits(grids.from_json(bundle.description["grid"]), cube.grid)
    _check_target(spec.target, bundle)
    available = availability_of(bundle, cube)
    time = available.target[-1] if init is None else cube.step.floor(parse_time(init))
    n_leads = spec.leads if leads is None else leads
    _check_leads(n_leads)
    step_spec = step_spec_of_bundle(bundle)
    span = span_of(bundle, n_leads)
    available.check(span, time)
    _check_alike(bundle, others)
    return ForecastRequest(
        bundles=tuple(bundle.path for bundle in bundles),
        cube=cube.path,
        init=time,
        leads=span.leads,
        minimum=spec.minimum,
        maximum=spec.maximum,
        device=pick_device(spec.device),
        precision=spec.precision,
        mode=spec.mode,
        taper=spec.taper,
        members=_build_members(spec.members, bundle, step_spec),
        quantiles=step_spec.quantiles,
        calibration=calibration,
    )


def _check_leads(leads: int) -> None:
    """Refuse a forecast of nothing, or of more than any series holds.

    Raises:
        ValueError: names how many leads can be requested.
    """
    if not 1 <= leads <= MAX_STEPS:
        raise ValueError(
            f"leads={leads} is no forecast of 1 to {MAX_STEPS} steps; ask for fewer or more"
        )


def step_spec_of_bundle(bundle: Bundle) -> StepSpec:
    """Read how the model of a bundle reads its frames."""
    return StepSpec(**bundle.description["reading"])


def span_of(bundle: Bundle, leads: int) -> RolloutSpan:
    """Return the frames of a rollout of a bundle: no later recipe can change them."""
    return RolloutSpan.of(step_spec_of_bundle(bundle), leads)


def availability_of(bundle: Bundle, cube: Cube) -> Availability:
    """Find which dates a cube has of what a bundle reads."""
    stack = InputStack.from_json(bundle.description["stack"])
    return Availability(stack, cube.dates, cube.step)


def list_files_read(bundle: Bundle, cube: Cube, request: ForecastRequest) -> list[str]:
    """List the files of a cube that a forecast reads, each once, by their paths in it."""
    stack = InputStack.from_json(bundle.description["stack"])
    span = span_of(bundle, request.leads)
    read: list[tuple[str, Times | None]] = [
        (stack.target.variable, span.history_times(cube.step, request.init))
    ]
    supplies = availability_of(bundle, cube).forcing_supplies(span, request.init)
    read += [(supply.name, supply.known.times) for supply in supplies]
    read += [(static.series.variable, None) for static in stack.statics if static.series]
    return list(
        dict.fromkeys(file for name, times in read for file in cube.frame_files(name, times))
    )


def _build_members(
    requested: EnsembleSpec, bundle: Bundle, step_spec: StepSpec
) -> EnsembleSpec:
    """Build what makes members differ; a single forecast is not perturbed.

    Raises:
        ValueError: the network gives quantiles, so it has no members.
    """
    if requested.n == 1:
        return EnsembleSpec()
    if step_spec.quantiles:
        raise ValueError(
            f"bundle {bundle.path.name!r} forecasts quantiles, and each of rollout.members="
            f"{requested.n} would give its own, which no statistic joins; set "
            "rollout.members=1 and no rollout.bundles, or train with loss crps for an ensemble"
        )
    has_dropout = requested.dropout and bundle.description["network"]["dropout"] > 0
    return replace(requested, dropout=has_dropout)


def _check_alike(first: Bundle, others: Sequence[Bundle]) -> None:
    """Refuse further bundles that read other channels than the first.

    Raises:
        ValueError: a bundle is of another kind.
    """
    for bundle in others:
        for key in ("stack", "reading", "grid", "step"):
            if _description_of(bundle, key) != _description_of(first, key):
                raise ValueError(
                    f"bundle {bundle.path.name!r} has another {key!r} than "
                    f"{first.path.name!r}, so it would be shown what it never learned to "
                    "read; name bundles that were trained on the same cube with the same "
                    "channels and split"
                )


def _description_of(bundle: Bundle, key: str) -> object:
    """Look up one key of the description of a bundle."""
    return step_spec_of_bundle(bundle) if key == "reading" else bundle.description[key]


def build_plan(
    spec: RolloutSpec,
    bundle: Bundle,
    cube: Cube,
    leads: int,
    workers: WorkerPool,
    *,
    one_block: bool = False,
) -> RolloutPlan:
    """Plan tiles and blocks of a rollout; hindcasts keep all leads in memory, in one block."""
    shape = (cube.grid.height, cube.grid.width)
    reach = Reach(**bundle.description["reach"])
    network = parse_network_spec(bundle.description["network"])
    workload = replace(build_rollout(spec, shape, reach, network, leads), is_scored=one_block)
    on_device = limit_to_gpus(workers, pick_device(spec.device))
    block_leads = leads if one_block else spec.block_leads
    return plan_rollout(workload, on_device, core_px=spec.tile_px, block_leads=block_leads)


def build_rollout(
    spec: RolloutSpec,
    shape: tuple[int, int],
    reach: Reach,
    network: ConvLSTMSpec,
    leads: int,
) -> RolloutWorkload:
    """Describe what is rolled out over a grid of ``shape`` (y, x)."""
    return RolloutWorkload(
        shape,
        reach,
        network,
        leads,
        members=spec.members.n,
        mode=spec.mode,
        taper_px=spec.taper_px,
        batch=spec.batch,
        n_climatology_maps=spec.n_fields,
    )


def _check_target(requested: str, bundle: Bundle) -> None:
    trained = bundle.description["stack"]["target"]["variable"]
    if trained != requested:
        raise ValueError(
            f"the bundle forecasts {trained!r} but the recipe's target is "
            f"{requested!r}, so values would stand under a wrong name; "
            "train the recipe, or name a bundle of its own with --bundle"
        )
