"""One forecast, cut in many ways: tiles, blocks, batches, workers and chunks of the cube.

Writes the table of docs/invariance.md. Every row is a whole rollout through the stores; the
last column is its largest difference from the untiled rollout, in units of the forecast.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common.case import BenchmarkCase, Size, make_case, read_frame
from benchmarks.common.rollout import plan_case
from flows.runtime import open_executor
from pipeline.executors import Executor
from pipeline.recipes import ComputeRecipe
from pipeline.rollout.engine import roll_out
from pipeline.rollout.rollout_plan import RolloutPlan
from stores.array_types import Float32Array

SIZE = Size(side=149, leads=6, history=4, hidden=(8, 8))

_HEADER = (
    "tile [px]",
    "block [leads]",
    "batch",
    "workers",
    "tiles",
    "halo [px]",
    "largest difference",
)


@dataclass(frozen=True)
class Tiling:
    """One way to cut the same forecast."""

    tile_px: int
    block_leads: int
    batch: int = 1
    workers: int = 0


CUTS = (
    Tiling(149, 6),
    Tiling(96, 6),
    Tiling(64, 6, batch=2),
    Tiling(48, 3),
    Tiling(48, 3, batch=4),
    Tiling(37, 2),
    Tiling(37, 2, workers=1),
    Tiling(37, 2, workers=2),
    Tiling(32, 1),
    Tiling(32, 1, batch=3, workers=2),
    Tiling(23, 4),
)


def plan_of(case: BenchmarkCase, cut: Tiling) -> RolloutPlan:
    """Plan one way to cut."""
    return plan_case(case, 10**10, core_px=cut.tile_px, block_leads=cut.block_leads)


def forecast(case: BenchmarkCase, cut: Tiling, executor: Executor) -> Float32Array:
    """Roll out through the stores (leads, y, x)."""
    plan = plan_of(case, cut)
    name = f"t{cut.tile_px}-b{cut.block_leads}-n{cut.batch}-w{cut.workers}"
    stage = case.stage(name, plan.layout)
    for _ in roll_out(case.request, plan, stage, executor=executor, batch=cut.batch):
        pass
    return np.stack([read_frame(stage, lead) for lead in range(1, case.leads + 1)])


def rows(case: BenchmarkCase) -> Iterator[str]:
    """Compute every cut and compare it with the first, which is not cut at all."""
    whole: Float32Array | None = None
    for cut in CUTS:
        compute = ComputeRecipe(workers=cut.workers, threads=1, device="cpu")
        with open_executor(compute) as executor:
            frames = forecast(case, cut, executor)
        whole = frames if whole is None else whole
        difference = float(np.nanmax(np.abs(frames - whole)))
        plan = plan_of(case, cut)
        yield (
            f"| {cut.tile_px} | {cut.block_leads} | {cut.batch} | "
            f"{cut.workers or 'this process'} | {plan.n_tiles} | {plan.halo_px} | "
            f"{difference:.2g} |"
        )


def main() -> None:
    """Print the table, and write it into the docs when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="changes nothing: one size serves")
    parser.add_argument("--write", type=Path, help="Markdown file to append the table to")
    options = parser.parse_args()
    lines = [
        f"| {' | '.join(_HEADER)} |",
        "|---" * len(_HEADER) + "|",
    ]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as folder:
        case = make_case(Path(folder), SIZE)
        for row in rows(case):
            print(row, flush=True)
            lines.append(row)
    if options.write:
        options.write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
