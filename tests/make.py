"""Builders of small archives, recipes and cubes; real files, nothing mocked."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import yaml
from affine import Affine
from odc.geo.geobox import GeoBox

from pipeline.recipes import Recipe, load_recipe
from stores.archive import SourceVariable
from stores.array_types import BoolArray, Float32Array
from stores.grid import read_grid
from stores.ingest import FrameReceipt, commit_cube, prepare_cube, write_frame
from stores.ingest_plan import IngestPlan, plan_ingest
from stores.inventory import scan_archive
from stores.times import Step, parse_time

Field = Float32Array

SHAPE = (23, 31)
GRID = GeoBox(SHAPE, Affine(0.1, 0, 10.0, 0, -0.1, 50.0), "EPSG:4326")
ELEVATION_GRID = GeoBox((17, 19), Affine(0.25, 0, 9.5, 0, -0.25, 50.5), "EPSG:4326")
LAND_GRID = GeoBox((69, 93), Affine(0.1 / 3, 0, 10.0, 0, -0.1 / 3, 50.0), "EPSG:4326")
NODATA = -9999.0
START, N_MONTHS = "2000-01", 96
_INGESTED = ("archive", "grid")  # the keys of a recipe that a cube depends on
RAIN_FILES = "rain/rain_{time:%Y.%m}.tif"


def make_fields(n: int, shape: tuple[int, int] = SHAPE, *, seed: int = 0) -> Field:
    """Build smooth positive fields with a season, and anomalies that remember (t, y, x)."""
    rng = np.random.default_rng(seed)
    ys, xs = np.meshgrid(*(np.linspace(0, 1, side) for side in shape), indexing="ij")
    waves = np.stack(
        [np.sin(np.pi * (a * ys + b * xs) + c) for a, b, c in rng.uniform(0.5, 3, (6, 3))]
    )
    weights = np.zeros((n, len(waves)))
    noise = rng.normal(size=weights.shape)
    for t in range(n):
        weights[t] = (0.8 * weights[t - 1] if t else 0) + 0.6 * noise[t]
    season = np.cos(2 * np.pi * (np.arange(n)[:, None, None] / 12 - 0.3 * xs))
    anomalies = np.einsum("tw,wyx->tyx", weights, waves)
    fields: Field = (50 * np.exp(0.6 * season + 0.15 * anomalies) * (1 + ys)).astype(np.float32)
    return fields


def make_land(shape: tuple[int, int] = SHAPE) -> BoolArray:
    """Build an island: True is land, the sea around and a bay are False (y, x)."""
    ys, xs = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    island = (ys**2 + 0.8 * xs**2) < 0.9
    bay = (ys - 0.3) ** 2 + (xs + 0.6) ** 2 < 0.08
    land: BoolArray = island & ~bay
    return land


def write_tiff(
    path: Path,
    values: npt.ArrayLike,
    *,
    grid: GeoBox = GRID,
    tags: Mapping[str, str] | None = None,
    **profile: Any,
) -> Path:
    """Write one GeoTIFF: (y, x) is one band, (band, y, x) several; NaN becomes its nodata."""
    bands = np.asarray(values)
    bands = bands[None] if bands.ndim == 2 else bands
    nodata = profile.get("nodata")
    if nodata is not None and bands.dtype.kind == "f":
        bands = np.where(np.isnan(bands), bands.dtype.type(nodata), bands)
    path.parent.mkdir(parents=True, exist_ok=True)
    placed = {"crs": str(grid.crs), "transform": grid.affine}
    written = {"dtype": bands.dtype, "compress": "deflate", **placed, **profile}
    rows, cols = bands.shape[1:]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=rows,
        width=cols,
        count=len(bands),
        **written,
    ) as raster:
        raster.write(bands)
        if tags:
            raster.update_tags(**tags)
    return path


def make_tiffs(
    folder: Path,
    *,
    n: int = N_MONTHS,
    start: str = START,
    files: str = RAIN_FILES,
    grid: GeoBox = GRID,
    seed: int = 0,
    **profile: Any,
) -> list[Path]:
    """Write one GeoTIFF per month with the sea as nodata; ``profile`` goes to rasterio."""
    fields = make_fields(n, (grid.height, grid.width), seed=seed)
    fields[:, ~make_land((grid.height, grid.width))] = np.nan
    written = {"nodata": NODATA} | profile
    paths = (folder / name for name in date_names(files, start=start, n=n))
    return [
        write_tiff(path, frame, grid=grid, **written)
        for path, frame in zip(paths, fields, strict=True)
    ]


def date_names(files: str, *, start: str, n: int, step: str = "month") -> Iterable[str]:
    """Fill ``{time:...}`` of a pattern with ``n`` dates."""
    every, first = Step.parse(step), parse_time(start)
    for index in range(n):
        yield files.format(time=every.add(first, index).astype("datetime64[s]").item())


def make_basins(shape: tuple[int, int] = SHAPE) -> npt.NDArray[np.int16]:
    """Number six basins from 10 (y, x); some pixels are in none, which is -1."""
    ys, xs = np.indices(shape)
    basins = 10 + 3 * (2 * ys // shape[0]) + 3 * xs // shape[1]
    basins[5:9, 3:6] = -1
    return basins.astype(np.int16)


def make_archive(folder: Path, *, n: int = N_MONTHS, start: str = START, seed: int = 0) -> Path:
    """Write monthly rain, elevation on a coarser grid, land on a finer one, and basins."""
    make_tiffs(folder, n=n, start=start, seed=seed)
    elevation = 100 * make_fields(1, (17, 19), seed=seed + 1)[0]
    write_tiff(folder / "elevation.tif", elevation.astype(np.int16), grid=ELEVATION_GRID)
    land = np.kron(make_land(), np.ones((3, 3), dtype=bool)).astype(np.uint8)
    write_tiff(folder / "land.tif", land, grid=LAND_GRID)
    write_tiff(folder / "basins.tif", make_basins(), nodata=-1)
    return folder


def make_recipe(folder: Path, **overrides: Any) -> Path:
    """Write a recipe that trains in seconds, and the archive it reads if there is none.

    ``overrides`` are merged into nested keys: ``training={"epochs": 1}`` keeps the others; None
    removes its key.
    """
    if not (folder / "archive").exists():
        make_archive(folder / "archive")
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(_merge(_recipe(), overrides), sort_keys=False))
    return path


def make_cube(folder: Path, **overrides: Any) -> Path:
    """Make a recipe, ingest its archive, and give the cube: ``folder/run/cube.zarr``.

    The work is done once per session and archive, then copied; ``folder/recipe.yaml`` and
    ``folder/archive`` are there too.
    """
    asked = {key: overrides[key] for key in _INGESTED if key in overrides}
    made = _ingest_once(json.dumps(asked, sort_keys=True))
    shutil.copytree(made, folder, dirs_exist_ok=True)
    make_recipe(folder, **overrides)
    return folder / "run" / "cube.zarr"


def ingest(
    recipe: Recipe, path: Path, *, accept_gaps: bool = False
) -> tuple[IngestPlan, list[FrameReceipt]]:
    """Bring the archive of a recipe into a cube, in this process."""
    inventory = scan_archive(recipe.archive.root, sources_of(recipe), recipe.step)
    inventory.check(accept_gaps)
    like = recipe.grid.like
    assert like is not None
    plan = plan_ingest(inventory, read_grid(recipe.archive.root / like), path)
    prepare_cube(plan)
    receipts = [write_frame(plan, frame.variable, frame.key) for frame in plan.frames]
    commit_cube(plan, receipts)
    return plan, receipts


def sources_of(recipe: Recipe) -> list[SourceVariable]:
    """Take the plain values of a recipe's variables."""
    return [
        SourceVariable(
            name=name,
            is_classes=variable.kind == "classes",
            **variable.model_dump(exclude={"kind"}),
        )
        for name, variable in recipe.archive.variables.items()
    ]


@cache
def _ingest_once(overrides: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="cubecast-made-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    recipe = load_recipe(make_recipe(folder, **json.loads(overrides)))
    ingest(recipe, folder / "run" / "cube.zarr")
    return folder


def _merge(written: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(written)
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def _recipe() -> dict[str, Any]:
    return {
        "name": "small-rain",
        "title": "Monthly rain over a made island",
        "root": "run",
        "archive": {"root": "archive", "step": "month", "variables": _variables()},
        "grid": {"like": f"rain/rain_{START.replace('-', '.')}.tif"},
        "target": {"variable": "rain", "transform": ["log1p", "zscore"], "minimum": 0},
        "covariates": [
            {"kind": "static", "variable": "elevation"},
            {"kind": "derived", "of": "season"},
            {"kind": "derived", "of": "lonlat"},
        ],
        "domain": {"variable": "land_fraction"},
        "split": {
            "train": ["2000-01", "2004-12"],
            "validation": ["2005-02", "2005-12"],
            "test": ["2006-02", "2007-12"],
            "gap": 1,
        },
        "model": {"hidden": [4], "head": [4], "dropout": 0.0, "norm": "none"},
        "training": {"epochs": 2, "batch": 4, "patch_px": 16, "leads": 2, "warmup_steps": 2},
        "rollout": {"history": 3, "leads": 4},
        "outputs": {"report": False},  # its pictures take seconds: who reads it asks for it
        "compute": {"workers": 0, "threads": 1, "device": "cpu"},
    }


def _variables() -> dict[str, Any]:
    rain = {
        "files": RAIN_FILES,
        "units": "mm month-1",
        "long_name": "monthly rain",
        "standard_name": "lwe_precipitation_rate",
        "valid_range": [0, 5000],
    }
    elevation = {
        "files": "elevation.tif",
        "units": "m",
        "long_name": "elevation",
        "standard_name": "surface_altitude",
    }
    land = {
        "files": "land.tif",
        "units": "1",
        "long_name": "share of land",
        "standard_name": "land_area_fraction",
        "resampling": "average",
    }
    return {"rain": rain, "elevation": elevation, "land_fraction": land}
