"""Peak memory of each step that reads or writes frames, as the raster grows 1 x, 4 x and 16 x.

Every step is run in a process of its own. What it took is its peak less what it held before
its first frame, so that libraries do not hide the growth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

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
    stopwatch,
)
from stores.archive import SourceVariable
from stores.cog import export_cogs
from stores.contents import check_issue_contents
from stores.forecast import commit_forecast, create_forecast, write_domain, write_forecast
from stores.forecast_template import ForecastTemplate, ForecastVariable
from stores.ingest import prepare_cube, write_frame
from stores.ingest_plan import plan_ingest, task_bytes
from stores.inventory import scan_archive
from stores.issue import IssueKey, open_stage
from stores.layout import plan_layout
from stores.times import Step, parse_time

_MONTH = Step(1, "month")
_SOURCE = SourceVariable("v", "{time:%Y.%m}.tif", "1")
_PIECE_PX = 1024
_KEY = IssueKey("made", "recipe", ("bundle",), "cube", init="2000-01", leads=1)


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step took for one raster."""

    side: int
    seconds: float
    n_bytes: int


def main() -> None:
    """Measure every step for every raster and print the growth."""
    options = growth_parser(str(__doc__), side=2048, full=4096).parse_args()
    sides = list_sides(options)
    side, *_, largest = sides
    planned = task_bytes(plan_layout((largest, largest)), largest**2)
    print_environment(raster=f"int16, blocks of 512 px, {side} px a side and larger")
    print(f"planned for one ingest task: {planned / MIB:.0f} MiB\n")
    results: dict[str, list[StepCost]] = {}
    for side in sides:
        with scratch_folder(options.scratch) as root:
            for name, cost in measure_all(root, side).items():
                results.setdefault(name, []).append(cost)
                print(f"{name}, {cost.side} px: {cost.n_bytes / MIB:.0f} MiB", flush=True)
    print()
    _report(results)


def measure_all(root: Path, side: int) -> dict[str, StepCost]:
    """Run every step for a raster of one size."""
    run_in_subprocess(_make_archive, root, side)
    cost = {"inventory": run_in_subprocess(_measure, _scan, root, side)}
    for name, target in (("ingest, same grid", _grid(side)), ("ingest, warped", _warped(side))):
        folder = root / name.replace(", ", "-")
        run_in_subprocess(_prepare, root, folder, target)
        cost[name] = run_in_subprocess(_measure, _ingest, folder, side)
    run_in_subprocess(_make_forecast, root, side)
    cost["COG"] = run_in_subprocess(_measure, _export, root, side)
    cost["verify"] = run_in_subprocess(_measure, _verify, root, side)
    return cost


def _measure(step: Callable[[Path], object], folder: Path, side: int) -> StepCost:
    before = held_bytes()
    with stopwatch() as seconds:
        step(folder)
    return StepCost(side, seconds(), peak_bytes() - before)


def _grid(side: int) -> GeoBox:
    return GeoBox((side, side), Affine(100, 0, 4_000_000, 0, -100, 3_500_000), "EPSG:3035")


def _warped(side: int) -> GeoBox:
    """Return a grid of as many pixels of another CRS, most of which meet the archive."""
    pixel = Affine(0.0013, 0, 5.5, 0, -0.0009, 54.5)
    return GeoBox((side, side), pixel, "EPSG:4326")


def _make_archive(root: Path, side: int) -> None:
    """Write one frame of noise, which no codec makes small."""
    noise = np.random.default_rng(0).integers(0, 9999, (_PIECE_PX, _PIECE_PX), dtype=np.int16)
    (root / "archive").mkdir()
    profile = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    placed = {"crs": "EPSG:3035", "transform": _grid(side).affine, "nodata": -1}
    sides = {"height": side, "width": side, "count": 1, "dtype": "int16"}
    path = root / "archive" / "2000.01.tif"
    with rasterio.open(path, "w", driver="GTiff", **sides, **placed, **profile) as raster:
        for piece in plan_layout((side, side)).shard_windows((side, side)):
            for window in piece.blocks(_PIECE_PX, _PIECE_PX):
                rows, cols = window.shape
                raster.write(noise[:rows, :cols], 1, window=window.slices)


def _scan(root: Path) -> None:
    scan_archive(root / "archive", [_SOURCE], _MONTH)


def _prepare(root: Path, folder: Path, target: GeoBox) -> None:
    inventory = scan_archive(root / "archive", [_SOURCE], _MONTH)
    prepare_cube(plan_ingest(inventory, target, folder / "cube.zarr"))


def _ingest(folder: Path) -> None:
    write_frame(folder / "cube.zarr", _SOURCE.name, "2000-01")


def _make_forecast(root: Path, side: int) -> None:
    variables = (ForecastVariable("v", "1"),)
    init = parse_time("2000-01")
    template = ForecastTemplate(_grid(side), variables, _MONTH, init, leads=1)
    stage = open_stage(root, _KEY)
    rng = np.random.default_rng(0)
    create_forecast(stage, template)
    for window in template.resolved_layout.shard_windows(template.shape):
        write_domain(stage, window, np.ones(window.shape, dtype=bool))
        frame = rng.random(window.shape, dtype=np.float32)
        write_forecast(stage, "v", window, frame[None])
    commit_forecast(stage)


def _export(root: Path) -> None:
    export_cogs(open_stage(root, _KEY))


def _verify(root: Path) -> None:
    findings = check_issue_contents(open_stage(root, _KEY))
    if findings:
        raise ValueError(f"the forecast is not sound ({findings}), so nothing was measured")


def _report(results: dict[str, list[StepCost]]) -> None:
    sides = [cost.side for cost in next(iter(results.values()))]
    header = ["step", *(f"{side} px: MiB (s)" for side in sides), "last / middle"]
    rows = [
        [name, *map(_format_cost, costs), f"{_growth(costs):.2f}"]
        for name, costs in results.items()
    ]
    print_table(header, rows)
    worst = max(map(_growth, results.values()))
    growth = f"{100 * (worst - 1):+.0f} %"
    print_target("flat within 15 % from 4 x to 16 x", growth, met=worst <= 1.15)


def _format_cost(cost: StepCost) -> str:
    return f"{cost.n_bytes / MIB:.0f} ({cost.seconds:.0f})"


def _growth(costs: list[StepCost]) -> float:
    """Compute the ratio of the largest raster to the one before.

    The smallest fits into the caches.
    """
    return costs[-1].n_bytes / costs[-2].n_bytes


if __name__ == "__main__":
    main()
