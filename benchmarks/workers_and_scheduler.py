"""What more workers bring, what a task costs, and what a national plan costs the scheduler.

Measures one rollout on 1 and 2 worker processes, tasks that do nothing, and the tiles of all
blocks of a plan of 17,111 x 40,000 px with 12 leads, as tasks that do nothing. The engine sends
several tiles with one task, so a real rollout costs the scheduler less.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.common.case import BenchmarkCase, Size, make_case, read_frame
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
from benchmarks.common.rollout import describe_plan, plan_case, run_plan
from flows.runtime import open_executor
from pipeline.memory import WorkerPool
from pipeline.models import ConvLSTM, ConvLSTMSpec
from pipeline.recipes import ComputeRecipe
from pipeline.rollout.rollout_plan import RolloutPlan, RolloutWorkload, plan_rollout
from pipeline.tiling.tiles import Tile

NATION = (17_111, 40_000)
"""Rows and columns of the largest grid that is asked for [px]."""
_WORKERS = (1, 2)
_WORKER_GB = 4.0
_CHANNELS = 8  # target, valid, and six covariates

Task = tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Scheduled:
    """What tasks that do nothing cost."""

    n_tasks: int
    seconds: float
    grown_bytes: int
    """Peak of the process of scheduler and client, over what it held before."""


def main() -> None:
    """Measure workers, tasks and the simulated plan, and print them."""
    options = _options()
    size = Size(
        options.side or (1024 if options.full else 512), options.leads, options.history, (8, 8)
    )
    with scratch_folder(options.scratch) as root:
        case = run_in_subprocess(make_case, root / "case", size)
        plan = run_in_subprocess(plan_case, case, int(_WORKER_GB * 1e9), core_px=options.tile)
        print_environment(
            raster=f"{size.side} x {size.side} px, {size.leads} leads, hidden {size.hidden}",
            plan=describe_plan(plan),
        )
        task_s = _workers(case, plan, options.repeats)
    _overhead(options.tasks, task_s)
    _nation(options.worker_gb, options.workers)


def _options() -> argparse.Namespace:
    parser = build_parser(str(__doc__))
    parser.add_argument("--side", type=int, help="of the raster; 512, --full 1024 [px]")
    parser.add_argument("--leads", type=int, default=6, help="frames to forecast")
    parser.add_argument("--history", type=int, default=6, help="frames that are read")
    parser.add_argument("--tile", type=int, default=128, help="side of what a tile owns [px]")
    parser.add_argument("--repeats", type=int, default=2, help="of each number of workers")
    parser.add_argument("--tasks", type=int, default=1000, help="that do nothing")
    parser.add_argument("--worker-gb", type=float, default=8.0, help="of the simulated plan")
    parser.add_argument("--workers", type=int, default=16, help="of the simulated plan")
    return parser.parse_args()


def _workers(case: BenchmarkCase, plan: RolloutPlan, repeats: int) -> float:
    """Roll out on 1 and 2 workers in turns; return the seconds of one tile of one block."""
    seconds: dict[int, list[float]] = {n: [] for n in _WORKERS}
    stages: dict[int, Path] = {}
    for repeat in range(repeats):
        for n in _WORKERS:
            stages[n], spent = run_in_subprocess(run_on, case, plan, n, f"w{n}r{repeat}")
            seconds[n].append(spent)
    seconds_alone = median(seconds[_WORKERS[0]])
    rows = [
        [
            f"{n}",
            f"{median(repeated):.1f}",
            format_range(repeated),
            f"{seconds_alone / median(repeated):.2f}",
        ]
        for n, repeated in seconds.items()
    ]
    print_table(["workers", "seconds", "of repeats", "speed-up"], rows)
    frames = [[read_frame(stages[n], lead + 1) for lead in range(case.leads)] for n in _WORKERS]
    equal = np.array_equal(frames[0], frames[1])
    print_target("equal bytes on 1 and 2 workers", "equal" if equal else "differ", met=equal)
    print()
    return seconds_alone / plan.n_tasks


def run_on(
    case: BenchmarkCase, plan: RolloutPlan, n_workers: int, name: str
) -> tuple[Path, float]:
    """Roll out on workers that have opened the bundle already."""
    with open_executor(_compute(n_workers)) as executor:
        list(executor.map_unordered(partial(_warm, case), range(2 * n_workers)))
        return run_plan(case, plan, name, executor)


def _warm(case: BenchmarkCase, _: int) -> int:
    return len(case.forecaster().networks)


def _compute(n_workers: int) -> ComputeRecipe:
    return ComputeRecipe(workers=n_workers, threads=1, memory_gb=_WORKER_GB)


def _overhead(n_tasks: int, task_s: float) -> None:
    tile = plan_nation(WorkerPool(1, 8 * 10**9)).tiles[0]
    rows = []
    for n in _WORKERS:
        cost = run_in_subprocess(schedule, [tile] * n_tasks, n)
        each = cost.seconds / cost.n_tasks
        rows.append([f"{n}", cost.n_tasks, f"{1e3 * each:.2f}", f"{100 * each / task_s:.2f} %"])
    print_table(["workers", "empty tasks", "ms a task", f"of a tile ({task_s:.2f} s)"], rows)


def _nation(worker_gb: float, n_workers: int) -> None:
    """Plan the largest grid and send its tasks, which do nothing, through the scheduler."""
    with stopwatch() as planning:
        plan = plan_nation(WorkerPool(n_workers, int(worker_gb * 1e9)))
    planned_s = planning()
    written = 4 * plan.leads * plan.shape[0] * plan.shape[1]
    print(f"plan of {NATION[0]} x {NATION[1]} px for {n_workers} workers of {worker_gb:g} GB:")
    print(f"  {describe_plan(plan)}, redundant work {plan.redundancy:.2f} x")
    cost = run_in_subprocess(schedule, plan.tiles * len(plan.blocks), max(_WORKERS))
    row = [
        f"{cost.n_tasks}",
        f"{plan.read_bytes / 1e9:.0f}",
        f"{written / 1e9:.1f}",
        f"{plan.tile_bytes / 1e9:.1f}",
        f"{planned_s:.1f}",
        f"{cost.seconds:.1f}",
        f"{1e3 * cost.seconds / cost.n_tasks:.2f}",
        f"{cost.grown_bytes / MIB:.0f}",
    ]
    header = [
        "tasks",
        "read GB",
        "written GB",
        "tile GB",
        "plan s",
        "no-op s",
        "ms",
        "grown MiB",
    ]
    print_table(header, [row])
    print("grown: peak of the process that holds scheduler and client, over its start")


def plan_nation(workers: WorkerPool) -> RolloutPlan:
    """Plan 12 leads of the recipe's default network over the largest grid."""
    shape = ConvLSTMSpec(_CHANNELS, history=12)
    return plan_rollout(
        RolloutWorkload(NATION, ConvLSTM(shape).reach, shape, leads=12), workers
    )


def schedule(tiles: Sequence[Tile], n_workers: int) -> Scheduled:
    """Send a task that does nothing for every tile, one tile a task."""
    tasks: list[Task] = [(tile,) for tile in tiles]
    with open_executor(_compute(n_workers)) as executor:
        list(executor.map_unordered(_nothing, tasks[: 4 * n_workers]))
        before = held_bytes()
        with stopwatch() as spent:
            n_done = sum(1 for _ in executor.map_unordered(_nothing, tasks))
        return Scheduled(n_done, spent(), max(0, peak_bytes() - before))


def _nothing(task: Task) -> int:
    return len(task)


if __name__ == "__main__":
    main()
