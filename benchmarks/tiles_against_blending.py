"""Exact tiles against blended tiles and against the raster in one piece.

The same network forecasts the same raster (a) with our engine, (b) in the usual way: every tile
rolled out on its own with 50 % overlap, then blended with cosine weights, and (c) untiled in
one call. All three read from the cube and write a forecast, each in a process of its own, in
turns. Tiles of (b) are as large as what ours read.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.common.case import VARIABLE, BenchmarkCase, Size, make_case, read_frame
from benchmarks.common.measure import (
    MIB,
    build_parser,
    format_range,
    held_bytes,
    median,
    peak_bytes,
    print_environment,
    print_table,
    print_target,
    run_in_subprocess,
    scratch_folder,
    stopwatch,
)
from benchmarks.common.rollout import describe_plan, network_of, plan_case, run_plan
from flows.runtime import set_num_threads
from pipeline.executors import SerialExecutor
from pipeline.rollout.cost import rollout_bytes
from pipeline.rollout.rollout_plan import RolloutPlan
from pipeline.tiling.tiles import Tile
from stores.array_types import Float32Array
from stores.forecast import write_domain, write_forecast
from stores.windows import Window

VARIANTS = {"a": "(a) exact tiles", "b": "(b) blended tiles", "c": "(c) untiled"}
_HEADER = ("", "seconds", "of repeats", "of (c)", "work", "peak MiB", "grown MiB", "far")
_LEAST_WEIGHT = 1e-3  # the edge of the raster is covered by edges of tiles alone

Frames = Float32Array


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of one variant took."""

    stage: Path
    seconds: float
    peak_bytes: int
    libraries_bytes: int
    """Held before the rollout began."""


def main() -> None:
    """Measure all variants in turns and print the ratios."""
    options = _options()
    side = options.side or (2048 if options.full else 512)
    size = Size(side, options.leads, options.history, tuple(options.hidden))
    with scratch_folder(options.scratch) as root:
        case = run_in_subprocess(make_case, root / "case", size)
        plan = run_in_subprocess(_plan, case, options.memory)
        print_environment(
            raster=f"{side} x {side} px, {options.leads} leads, history {options.history}",
            network=f"ConvLSTM, hidden {options.hidden}, float32, {options.threads} threads",
            plan=describe_plan(plan),
        )
        runs: dict[str, list[Run]] = {variant: [] for variant in VARIANTS}
        for repeat, variant in product(range(options.repeats), VARIANTS):
            name = f"{variant}{repeat}"
            run = run_in_subprocess(run_variant, variant, case, plan, name, options.threads)
            runs[variant].append(run)
        _report(case, plan, runs)


def _options() -> argparse.Namespace:
    parser = build_parser(str(__doc__))
    parser.add_argument("--side", type=int, help="of the raster; 512, --full 2048 [px]")
    parser.add_argument("--leads", type=int, default=12, help="frames to forecast")
    parser.add_argument("--history", type=int, default=4, help="frames that are read")
    parser.add_argument("--hidden", type=int, nargs="+", default=[8, 8], help="of each layer")
    parser.add_argument("--repeats", type=int, default=3, help="of each variant")
    parser.add_argument(
        "--memory",
        type=float,
        default=1 / 6,
        help="of a worker, in fractions of what (c) needs",
    )
    return parser.parse_args()


def _plan(case: BenchmarkCase, memory: float) -> RolloutPlan:
    """Plan for a worker that cannot hold the whole raster."""
    rows, cols = case.shape
    network = network_of(case)
    whole = rollout_bytes(rows * cols, network.shape, leads=case.leads)
    return plan_case(case, int(memory * whole))


def run_variant(
    variant: str, case: BenchmarkCase, plan: RolloutPlan, name: str, threads: int
) -> Run:
    """Run one variant in this process, which does nothing else."""
    set_num_threads(threads)
    case.forecaster()
    before = held_bytes()
    if variant == "a":
        stage, seconds = run_plan(case, plan, name, SerialExecutor())
    else:
        stage = case.stage(name, plan.layout)
        with stopwatch() as spent:
            frames = _blended(case, plan) if variant == "b" else _untiled(case)
            whole = Window.from_shape(case.shape)
            write_domain(stage, whole, np.ones(whole.shape, dtype=np.bool_))
            write_forecast(stage, VARIABLE, whole, frames)
        seconds = spent()
    return Run(stage, seconds, peak_bytes(), before)


def _untiled(case: BenchmarkCase) -> Frames:
    whole = Window.from_shape(case.shape)
    frames: Frames = case.forecaster().forecast_physical(Tile(whole, whole), case.request)[0]
    return frames


def _blended(case: BenchmarkCase, plan: RolloutPlan) -> Frames:
    """Roll every tile out to the last lead, and average where tiles overlap."""
    forecaster = case.forecaster()
    summed = np.zeros((case.leads, *case.shape), dtype=np.float32)
    weights = np.zeros(case.shape, dtype=np.float32)
    for tile in overlapping_tiles(plan):
        (frames,) = forecaster.forecast_physical(tile, case.request)
        weight = _cosine(tile.owns.shape)
        summed[:, *tile.owns.slices] += weight * frames
        weights[tile.owns.slices] += weight
    return summed / weights


def overlapping_tiles(plan: RolloutPlan) -> list[Tile]:
    """Cut the grid into windows as large as ours read, half of each shared with the next."""
    size = plan.tiles[0].reads.shape
    rows, cols = (
        [*range(0, length - side, max(1, side // 2)), length - side]
        for length, side in zip(plan.shape, size, strict=True)
    )
    windows = [Window(y, y + size[0], x, x + size[1]) for y, x in product(rows, cols)]
    return [Tile(window, window) for window in windows]


def _cosine(shape: tuple[int, int]) -> Frames:
    """Weigh the middle of a tile most and its edges least (y, x)."""
    rows, cols = (
        np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2 + _LEAST_WEIGHT for side in shape
    )
    return np.outer(rows, cols).astype(np.float32)


def _report(case: BenchmarkCase, plan: RolloutPlan, runs: dict[str, list[Run]]) -> None:
    work = {
        "a": plan.redundancy,
        "b": sum(tile.reads.size for tile in overlapping_tiles(plan)) / np.prod(plan.shape),
        "c": 1.0,
    }
    seconds = {
        variant: median([run.seconds for run in repeats]) for variant, repeats in runs.items()
    }
    far = {variant: _difference(case, runs[variant][0], runs["c"][0]) for variant in VARIANTS}
    rows = [
        [
            label,
            f"{seconds[variant]:.1f}",
            format_range([run.seconds for run in runs[variant]]),
            f"{seconds[variant] / seconds['c']:.2f}",
            f"{work[variant]:.2f}",
            *_memory(runs[variant]),
            f"{far[variant]:.1e}",
        ]
        for variant, label in VARIANTS.items()
    ]
    print_table(_HEADER, rows)
    moving = _deviation(runs["c"][0], case.leads)
    print(
        f"far: largest difference from (c), over the deviation of the last lead ({moving:.3g})"
    )
    print_target("work <= 1.35 x of (c)", f"{work['a']:.2f} x", met=work["a"] <= 1.35)
    gain = seconds["b"] / seconds["a"]
    print_target("2.5 x faster than (b)", f"{gain:.2f} x", met=gain >= 2.5)
    print_target("difference from (c) is rounding", f"{far['a']:.1e}", met=far["a"] < 1e-4)


def _memory(runs: list[Run]) -> list[str]:
    """Return the peak, and what it grew by over the libraries [MiB]."""
    grown = median([run.peak_bytes - run.libraries_bytes for run in runs])
    return [
        f"{median([run.peak_bytes for run in runs]) / MIB:.0f}",
        f"{grown / MIB:.0f}",
    ]


def _difference(case: BenchmarkCase, run: Run, whole: Run) -> float:
    scale = _deviation(whole, case.leads)
    leads = range(1, case.leads + 1)
    far = (np.abs(read_frame(run.stage, n) - read_frame(whole.stage, n)).max() for n in leads)
    return float(max(far)) / scale


def _deviation(run: Run, lead: int) -> float:
    return float(read_frame(run.stage, lead).std())


if __name__ == "__main__":
    main()
