"""A real large grid: radar of Finland, 7316 x 4963 px every 5 minutes, 12 leads.

Measures Mpx-leads a second, the fractions of time in reading, computing and writing, and the
share of this machine's convolution peak, which is measured in the same run. The default takes a
crop from the middle; --full takes all. Without the archive there is nothing to do.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import rasterio
import torch
from rasterio.windows import Window as RasterWindow
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.case import VARIABLE, BenchmarkCase, Size, ingest, publish, write_tiff
from benchmarks.common.measure import (
    MIB,
    Stopwatch,
    build_parser,
    held_bytes,
    peak_bytes,
    print_environment,
    print_table,
    run_in_subprocess,
    scratch_folder,
    stopwatch,
)
from benchmarks.common.rollout import describe_plan, plan_case, run_plan
from flows.runtime import set_num_threads
from pipeline.executors import SerialExecutor
from pipeline.rollout import blocks
from pipeline.rollout.forecaster import Forecaster
from pipeline.rollout.rollout_plan import RolloutPlan
from pipeline.tiling.tiles import Tile
from stores.archive import SourceVariable
from stores.grid import read_grid
from stores.times import Step
from stores.windows import Window

ARCHIVE = "CUBECAST_RADAR"
FILES = "{time:%Y%m%d%H%M}_FINUTM.tif"
_NODATA = 255.0  # the marker stands in a tag alone
_SCALE = (40.0, 40.0)
_PEAK_SHAPES = ((64, 64, 256), (128, 128, 128), (64, 256, 128), (32, 128, 256), (256, 256, 64))
"""Channels in, channels out and side [px] of plain 3 x 3 convolutions."""
_PROBE_PX = 64
_PEAK_S = 1.0  # for each shape


@dataclass(frozen=True, slots=True)
class RolloutTiming:
    """What one rollout took."""

    plan: RolloutPlan
    seconds: float
    parts: dict[str, float]
    grown_bytes: int
    flops_px: float
    """Operations of one lead at one pixel."""


def main() -> None:
    """Ingest, roll out, and print rates and fractions."""
    options = _options()
    if not (options.archive and options.archive.is_dir()):
        print(f"no radar archive: give --archive DIR or set {ARCHIVE}; nothing was measured")
        sys.exit(0)
    with scratch_folder(options.scratch) as root:
        case, ingest_s = run_in_subprocess(make_radar, root / "case", options)
        peak = run_in_subprocess(convolution_peak, options.threads)
        timing = run_in_subprocess(
            roll_radar, case, int(options.worker_gb * 1e9), options.threads
        )
    print_environment(
        raster=f"{timing.plan.shape[0]} x {timing.plan.shape[1]} px, {options.leads} leads, "
        f"history {options.history}, ingested in {ingest_s:.1f} s",
        network=f"ConvLSTM, hidden {options.hidden}, random weights, {options.threads} threads",
        plan=describe_plan(timing.plan),
    )
    _report(timing, peak)


def _options() -> argparse.Namespace:
    parser = build_parser(str(__doc__))
    known = os.environ.get(ARCHIVE)
    parser.add_argument(
        "--archive", type=Path, default=Path(known) if known else None, help=f"or ${ARCHIVE}"
    )
    parser.add_argument("--side", type=int, default=1024, help="of the crop [px]")
    parser.add_argument("--leads", type=int, default=12, help="frames to forecast")
    parser.add_argument("--history", type=int, default=6, help="frames that are read")
    parser.add_argument("--hidden", type=int, nargs="+", default=[8, 8], help="of each layer")
    parser.add_argument("--worker-gb", type=float, default=2.0, help="what tiles may take")
    return parser.parse_args()


def make_radar(root: Path, options: argparse.Namespace) -> tuple[BenchmarkCase, float]:
    """Ingest the last frames of the radar, and publish a random network for its grid."""
    root.mkdir(parents=True)
    step = Step.parse("5 minutes")
    names = sorted(path.name for path in options.archive.glob("*_FINUTM.tif"))[
        -options.history :
    ]
    archive = root / "archive"
    archive.mkdir()
    for name in names:
        if options.full:
            shutil.copy(options.archive / name, archive / name)
        else:
            _crop(options.archive / name, archive / name, options.side)
    source = SourceVariable(VARIABLE, FILES, nodata=_NODATA)
    with stopwatch() as spent:
        ingest(archive, source, step, root / "cube.zarr")
    size = Size(options.side, options.leads, options.history, tuple(options.hidden))
    publish(root, size, scale=_SCALE)
    return BenchmarkCase(root, options.leads), spent()


def _crop(source: Path, target: Path, side: int) -> None:
    """Cut a square from the middle of a raster, on the same grid."""
    grid = read_grid(source)
    y0, x0 = ((length - min(side, length)) // 2 for length in (grid.height, grid.width))
    height = min(side, grid.height)
    width = min(side, grid.width)
    with rasterio.open(source) as raster:
        values = raster.read(1, window=RasterWindow(x0, y0, width, height))
    write_tiff(target, values, grid[y0 : y0 + height, x0 : x0 + width])


def roll_radar(case: BenchmarkCase, worker_bytes: int, threads: int) -> RolloutTiming:
    """Roll out in this process, with clocks around reading, computing and writing."""
    set_num_threads(threads)
    plan = plan_case(case, worker_bytes)
    flops = count_flops(case, plan.block_leads)
    before = held_bytes()
    clock = Stopwatch()
    with ExitStack() as clocks:
        for label, owner, name in (
            ("reading", Forecaster, "read"),
            ("computing", Forecaster, "roll"),
            ("writing", blocks, "write_scratch"),
            ("writing", blocks, "write_owned"),
        ):
            clocks.enter_context(clock.around(label, owner, name))
        _, seconds = run_plan(case, plan, "radar", SerialExecutor())
    return RolloutTiming(plan, seconds, clock.seconds, peak_bytes() - before, flops)


def count_flops(case: BenchmarkCase, block_leads: int) -> float:
    """Count the operations of one lead at one pixel, by rolling out one small block."""
    window = Window(0, _PROBE_PX, 0, _PROBE_PX)
    request = replace(case.request, leads=block_leads)
    with FlopCounterMode(display=False) as counter:
        case.forecaster().forecast_normalized([Tile(window, window)], request)
    return float(counter.get_total_flops()) / (window.size * block_leads)


def convolution_peak(threads: int) -> tuple[float, str]:
    """Find the most operations a second that plain convolutions reach here [FLOP/s]."""
    set_num_threads(threads)
    rates = {}
    for in_channels, out_channels, side in _PEAK_SHAPES:
        for layout in (torch.contiguous_format, torch.channels_last):
            channels = f"{in_channels} to {out_channels} channels"
            name = f"{channels}, {side} px, {str(layout).split('.')[1]}"
            rates[name] = _rate(in_channels, out_channels, side, layout)
    best = max(rates, key=lambda name: rates[name])
    return rates[best], best


def _rate(in_channels: int, out_channels: int, side: int, layout: torch.memory_format) -> float:
    weights = torch.randn(out_channels, in_channels, 3, 3).contiguous(memory_format=layout)
    frames = torch.randn(1, in_channels, side, side).contiguous(memory_format=layout)
    calls = 0
    with torch.inference_mode():
        conv2d(frames, weights, padding=1)
        with stopwatch() as spent:
            while spent() < _PEAK_S:
                conv2d(frames, weights, padding=1)
                calls += 1
    return 2 * 9 * in_channels * out_channels * side**2 * calls / spent()


def _report(timing: RolloutTiming, peak: tuple[float, str]) -> None:
    plan = timing.plan
    useful = plan.shape[0] * plan.shape[1] * plan.leads
    rate = useful / timing.seconds
    computed = plan.redundancy * useful
    rows = [
        ["seconds", f"{timing.seconds:.1f}"],
        ["Mpx-leads a second", f"{rate / 1e6:.3f}"],
        *([part, f"{100 * s / timing.seconds:.1f} %"] for part, s in timing.parts.items()),
        ["redundant work", f"{plan.redundancy:.2f} x"],
        ["memory grown by", f"{timing.grown_bytes / MIB:.0f} MiB"],
        ["operations of a pixel-lead", f"{timing.flops_px / 1e3:.0f} kFLOP"],
        ["convolution peak", f"{peak[0] / 1e9:.1f} GFLOP/s ({peak[1]})"],
        ["peak reached, useful", f"{100 * rate * timing.flops_px / peak[0]:.1f} %"],
        [
            "peak reached, with halos",
            f"{100 * computed * timing.flops_px / timing.seconds / peak[0]:.1f} %",
        ],
        [
            "peak reached, while computing",
            f"{100 * computed * timing.flops_px / timing.parts['computing'] / peak[0]:.1f} %",
        ],
    ]
    print_table(["", "measured"], rows)
    print("reading and writing overlap with computing, so shares may add up to more than 100 %")


if __name__ == "__main__":
    main()
