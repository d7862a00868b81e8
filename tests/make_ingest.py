"""Builders of ingests: plan, write and commit a few variables of a made archive."""

from __future__ import annotations

from pathlib import Path

from odc.geo.geobox import GeoBox

from stores.archive import SourceVariable
from stores.array_types import Float32Array
from stores.cube import Cube
from stores.geotiff import PixelCounts, open_band
from stores.ingest import FrameReceipt, commit_cube, prepare_cube, write_frame
from stores.ingest_plan import IngestPlan, plan_ingest
from stores.inventory import scan_archive
from stores.times import Step
from stores.windows import Window
from tests.make import GRID, RAIN_FILES, SHAPE

WHOLE = Window.from_shape(SHAPE)
RAIN = SourceVariable("rain", RAIN_FILES, "mm month-1", valid_range=(0, 5000))
ELEVATION = SourceVariable("elevation", "elevation.tif", "m", standard_name="surface_altitude")
LAND = SourceVariable("land", "land.tif", resampling="average")


def make_plan(
    archive: Path, cube: Path, *sources: SourceVariable, grid: GeoBox = GRID
) -> IngestPlan:
    """Plan the ingest of some variables; of rain by default."""
    inventory = scan_archive(archive, sources or (RAIN,), Step.parse("month"))
    return plan_ingest(inventory, grid, cube)


def write_plan(plan: IngestPlan) -> list[FrameReceipt]:
    """Write every frame of a plan, without the commit."""
    prepare_cube(plan)
    return [write_frame(plan.path, frame.variable, frame.key) for frame in plan.frames]


def ingest_variables(
    archive: Path, cube: Path, *sources: SourceVariable, grid: GeoBox = GRID
) -> Cube:
    """Plan, write and commit; give the cube."""
    plan = make_plan(archive, cube, *sources, grid=grid)
    assert commit_cube(plan, write_plan(plan)) == plan.version
    return Cube.open(cube)


def read_whole(path: Path, source: SourceVariable) -> tuple[Float32Array, GeoBox, PixelCounts]:
    """Read a band at once: values with NaN where invalid (y, x), grid, and what was what."""
    with open_band(path, source) as band:
        return band.read(Window.from_shape(band.shape)), band.header.grid, band.count()
