"""A cube and a model to measure with: really ingested, random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import torch
from affine import Affine
from odc.geo.geobox import GeoBox

from pipeline.models import ConvLSTM, ConvLSTMSpec, describe_network
from pipeline.rollout.forecaster import Forecaster, forecaster_of
from pipeline.rollout.request import ForecastRequest
from pipeline.streams.fields import (
    DOMAIN,
    FIELDS,
    create_fields,
    field_blocks,
    finish_fields,
    write_field,
)
from pipeline.streams.input_stack import ForcingSpec, InputStack, StaticSpec, VariableSpec
from stores import grid as grids
from stores.archive import SourceVariable
from stores.array_types import Float32Array
from stores.bundle import open_current_bundle, publish_bundle, stage_bundle
from stores.cube import Cube
from stores.forecast import (
    commit_forecast,
    create_forecast,
    open_forecast,
)
from stores.forecast_template import ForecastTemplate, ForecastVariable
from stores.grid import read_grid
from stores.ingest import commit_cube, prepare_cube, write_frame
from stores.ingest_plan import plan_ingest
from stores.inventory import scan_archive
from stores.issue import FORECAST, IssueKey, open_stage
from stores.layout import Layout
from stores.seasons import Seasons
from stores.times import Step, parse_time

NAME = "bench"
VARIABLE = "amount"
_START = parse_time("2000-01")
_GAIN = 6.0  # of the head, so that forecasts keep moving from lead to lead


@dataclass(frozen=True, slots=True)
class Size:
    """What a synthetic case is made of."""

    side: int
    leads: int
    history: int
    hidden: Sequence[int]


@dataclass(frozen=True, slots=True)
class BenchmarkCase:
    """A folder with a cube and a bundle. Small and picklable: children open what it names."""

    root: Path
    leads: int

    @property
    def cube(self) -> Path:
        """Where the cube is."""
        return self.root / "cube.zarr"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns [px]."""
        grid = Cube.open(self.cube).grid
        return grid.shape[0], grid.shape[1]

    @property
    def request(self) -> ForecastRequest:
        """A forecast from the last frame."""
        bundle = open_current_bundle(self.root / "models", NAME).path
        return ForecastRequest((bundle,), self.cube, Cube.open(self.cube).times[-1], self.leads)

    def forecaster(self) -> Forecaster:
        """Open network and cube in this process."""
        return forecaster_of(self.request)

    def stage(self, name: str, layout: Layout) -> Path:
        """Open an empty forecast that only ``name`` writes into."""
        cube = Cube.open(self.cube)
        request = self.request
        label = cube.step.label(request.init)
        bundle = request.bundles[0].name[-12:]
        key = IssueKey(NAME, name, (bundle,), cube.version, label, self.leads)
        stage = open_stage(self.root, key)
        variable = ForecastVariable(VARIABLE, "1")
        create_forecast(
            stage,
            ForecastTemplate(
                cube.grid, (variable,), cube.step, request.init, self.leads, layout=layout
            ),
        )
        return stage


def read_frame(stage: Path, lead: int) -> Float32Array:
    """Read one frame of a forecast that was written into a stage (y, x)."""
    commit_forecast(stage)
    return open_forecast(stage / FORECAST).read(VARIABLE, lead)


def make_case(root: Path, size: Size) -> BenchmarkCase:
    """Write a synthetic archive, ingest it and publish a random network."""
    archive = root / "archive"
    step = Step.parse("month")
    archive.mkdir(parents=True)
    shape = (size.side, size.side)
    grid = GeoBox(shape, Affine(1e-3, 0, 10.0, 0, -1e-3, 50.0), "EPSG:4326")
    for index in range(size.history):
        time = step.add(_START, index)
        write_tiff(archive / f"{step.label(time)}.tif", _frame(shape, index), grid)
    source = SourceVariable(VARIABLE, "{time:%Y-%m}.tif", nodata=-9999.0)
    ingest(archive, source, step, root / "cube.zarr")
    publish(root, size, scale=(0.0, 1.0))
    return BenchmarkCase(root, size.leads)


def ingest(archive: Path, source: SourceVariable, step: Step, cube: Path) -> None:
    """Bring a series of GeoTIFFs into a cube, in this process."""
    inventory = scan_archive(archive, [source], step)
    inventory.check(accept_gaps=True)
    like = archive / inventory.series[source.name].files[0].name
    plan = plan_ingest(inventory, read_grid(like), cube)
    prepare_cube(plan)
    commit_cube(plan, [write_frame(plan, frame.variable, frame.key) for frame in plan.frames])


def publish(root: Path, size: Size, *, scale: tuple[float, float]) -> None:
    """Publish a random network for the cube in ``root``, as training would."""
    cube = Cube.open(root / "cube.zarr")
    chain = {"kind": "zscore", "offset": scale[0], "scale": scale[1]}
    series = VariableSpec(VARIABLE, (chain,))
    stack = InputStack(series, (ForcingSpec("season"),), (StaticSpec(),))
    network = random_network(
        ConvLSTMSpec(len(stack.names), size.history, hidden=size.hidden, head=size.hidden[-1:])
    )
    reach = network.reach
    with stage_bundle(root / "models", NAME) as folder:
        _write_fields(folder / FIELDS, cube.grid)
        publish_bundle(
            folder,
            root / "models",
            NAME,
            {name: weight.numpy() for name, weight in network.state_dict().items()},
            {
                "network": describe_network(network.shape),
                "stack": stack.to_json(),
                "channels": list(stack.names),
                "grid": grids.to_json(cube.grid),
                "reach": {
                    "first_px": reach.first_px,
                    "further_px": reach.further_px,
                    "stride": reach.stride,
                },
            },
        )


def random_network(shape: ConvLSTMSpec) -> ConvLSTM:
    """Build a network whose output, unlike that of an untrained one, is not zero."""
    torch.manual_seed(0)
    network = ConvLSTM(shape).eval()
    for name, weight in network.named_parameters():
        if weight.ndim == 4:
            torch.nn.init.kaiming_normal_(weight.data, nonlinearity="linear")
            weight.data *= _GAIN if name.startswith("head") else 1.0
    return network


def write_tiff(path: Path, values: npt.NDArray[np.generic], grid: GeoBox) -> None:
    """Write one band."""
    rows, cols = values.shape
    placed = {"crs": str(grid.crs), "transform": grid.affine, "dtype": values.dtype}
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=rows, width=cols, tiled=True, **placed
    ) as raster:
        raster.write(values, 1)


def _frame(shape: tuple[int, int], index: int) -> Float32Array:
    """Make smooth waves that drift, with noise and a lake without values (y, x)."""
    rng = np.random.default_rng(index)
    ys, xs = np.ogrid[: shape[0], : shape[1]]
    waves = np.sin((ys + 2 * index) / 17) + np.cos((xs - 3 * index) / 29)
    values = (waves + 0.3 * rng.standard_normal(shape)).astype(np.float32)
    lake = (ys - shape[0] / 3) ** 2 + (xs - shape[1] / 2) ** 2 < (min(shape) / 8) ** 2
    return np.where(lake, np.float32(-9999.0), values)


def _write_fields(path: Path, grid: GeoBox) -> None:
    """Make the domain the whole grid."""
    seasons = Seasons(Step.parse("month"), 1, 1, (0,))
    create_fields(path, grid, seasons=seasons, climatologies={})
    for window in field_blocks((grid.shape[0], grid.shape[1]), len(seasons)):
        write_field(path, DOMAIN, window, np.ones(window.shape, dtype=np.uint8))
    finish_fields(path)
