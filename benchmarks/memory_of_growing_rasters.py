"""Peak memory of one worker process while the raster grows 1 x, 4 x and 16 x.

Tiles and blocks stay as they are, so that only the number of tiles grows. The worker is a
process of the local Dask cluster that flows compute on; it reports its own peak when it is
done.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.case import Size, make_case
from benchmarks.common.growth import growth_parser, list_sides
from benchmarks.common.measure import (
    MIB,
    held_bytes,
    peak_bytes,
    print_environment,
    print_table,
    print_target,
    run_in_subprocess,
    scratch_folder,
)
from benchmarks.common.rollout import describe_plan, plan_case, run_plan
from flows.runtime import open_executor
from pipeline.executors import Executor
from pipeline.recipes import ComputeRecipe
from pipeline.rollout.rollout_plan import RolloutPlan

_WORKER_GB = 4.0


@dataclass(frozen=True, slots=True)
class MemoryGrowth:
    """What one worker held for one raster."""

    plan: RolloutPlan
    seconds: float
    before_bytes: int
    """Libraries, before the first tile."""
    peak_bytes: int


def main() -> None:
    """Measure every raster in a cluster of its own and print the growth."""
    options = _options()
    print_environment(
        network=f"ConvLSTM, hidden {options.hidden}, history {options.history}",
        rollout=f"{options.leads} leads, tiles of {options.tile} px",
    )
    results = []
    for side in list_sides(options):
        size = Size(side, options.leads, options.history, tuple(options.hidden))
        results.append(
            run_in_subprocess(measure, size, options.tile, options.threads, options.scratch)
        )
        print(f"{size.side} px: {describe_plan(results[-1].plan)}", flush=True)
    print()
    _report(results)


def _options() -> argparse.Namespace:
    parser = growth_parser(str(__doc__), side=256, full=1024)
    parser.add_argument("--leads", type=int, default=6, help="frames to forecast")
    parser.add_argument("--history", type=int, default=6, help="frames that are read")
    parser.add_argument("--hidden", type=int, nargs="+", default=[8, 8], help="of each layer")
    parser.add_argument("--tile", type=int, default=128, help="side of what a tile owns [px]")
    return parser.parse_args()


def measure(size: Size, tile_px: int, threads: int, scratch: Path | None) -> MemoryGrowth:
    """Roll one raster out on one worker."""
    compute = ComputeRecipe(workers=1, threads=threads, memory_gb=_WORKER_GB)
    with scratch_folder(scratch) as root:
        case = run_in_subprocess(make_case, root / "case", size)
        # Equal blocks whatever the raster, else the plans would not be comparable.
        plan = plan_case(
            case, int(_WORKER_GB * 1e9), core_px=tile_px, block_leads=max(1, size.leads // 2)
        )
        with open_executor(compute) as executor:
            before = query_worker_memory(executor, held=True)
            _, seconds = run_plan(case, plan, "grown", executor)
            return MemoryGrowth(
                plan, seconds, before, query_worker_memory(executor, held=False)
            )


def query_worker_memory(executor: Executor, *, held: bool) -> int:
    """Return how much memory the worker holds, or held at most [B]."""
    ((_, n_bytes),) = executor.map_unordered(_measure_memory, [held])
    return n_bytes


def _measure_memory(held: bool) -> int:
    return held_bytes() if held else peak_bytes()


def _report(results: list[MemoryGrowth]) -> None:
    first = results[0]
    header = ["raster", "tiles", "seconds", "before MiB", "peak MiB", "ratio", "of growth"]
    print_table(header, [_row(grown, first) for grown in results])
    print("of growth: ratio of what was added to the libraries, the stricter measure")
    ratio = max(grown.peak_bytes for grown in results) / first.peak_bytes
    print_target("flat within 10 %", f"{100 * (ratio - 1):+.1f} %", met=ratio <= 1.1)
    strict = max(map(_grown, results)) / _grown(first)
    growth = f"{100 * (strict - 1):+.1f} %"
    print_target("flat within 10 %, libraries left out", growth, met=strict <= 1.1)


def _row(grown: MemoryGrowth, first: MemoryGrowth) -> list[object]:
    rows, cols = grown.plan.shape
    return [
        f"{rows} x {cols} px",
        grown.plan.n_tasks,
        f"{grown.seconds:.1f}",
        f"{grown.before_bytes / MIB:.0f}",
        f"{grown.peak_bytes / MIB:.0f}",
        f"{grown.peak_bytes / first.peak_bytes:.3f}",
        f"{_grown(grown) / _grown(first):.3f}",
    ]


def _grown(grown: MemoryGrowth) -> int:
    return grown.peak_bytes - grown.before_bytes


if __name__ == "__main__":
    main()
