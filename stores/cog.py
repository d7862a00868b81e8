"""Cloud-Optimized GeoTIFFs: the frames of an issue for whoever works with GDAL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rio_cogeo.cogeo import cog_validate

from stores import grid as grids
from stores.array_types import Float32Array
from stores.arrays import get_array
from stores.crash import crash_point
from stores.disk_space import reraise_disk_full
from stores.errors import CorruptError
from stores.files import atomic_write
from stores.forecast import Forecast, WindowValues, open_forecast
from stores.gdal import silence_libtiff
from stores.issue import COGS, FORECAST
from stores.statistics import Statistics
from stores.times import Time
from stores.windows import Window

_BLOCK = 512
# A full disk raises the second, which is no child of the first.
_GDAL_ERRORS = (RasterioError, CPLE_BaseError)
_LICENSE_ATTRIBUTES = ("institution", "license", "references", "acknowledgement")
_ENV = {"GDAL_PAM_ENABLED": "NO"}  # no .aux.xml beside
_OPTIONS = {
    "COMPRESS": "DEFLATE",  # every GDAL reads it
    "PREDICTOR": "FLOATING_POINT",
    "BLOCKSIZE": _BLOCK,
    "OVERVIEWS": "IGNORE_EXISTING",
    "OVERVIEW_RESAMPLING": "AVERAGE",
    "BIGTIFF": "IF_SAFER",
    "NUM_THREADS": 1,
}

silence_libtiff()


@dataclass(frozen=True, slots=True)
class CogMetadata:
    """What a COG says about its one band."""

    description: str
    units: str
    time: Time | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def write_cog(
    path: Path, blocks: Iterable[WindowValues], grid: GeoBox, metadata: CogMetadata
) -> None:
    """Write one frame with NaN as nodata, overviews and statistics, in one rename.

    Overviews are averages of the valid pixels, through GDAL's COG driver.

    Args:
        path: of the file.
        blocks: windows and their values (y, x), which together cover the grid once.
        grid: of the frame.
        metadata: what the file says of it.

    Raises:
        OSError: it could not be written; nothing is left under ``path``.
    """
    with atomic_write(path) as temp_path:
        source_tiff = temp_path.with_suffix(".plain.tmp")
        try:
            with _reraise_gdal_errors(path), reraise_disk_full(path), rasterio.Env(**_ENV):
                _write_source_tiff(source_tiff, blocks, grid, metadata)
                rasterio.shutil.copy(source_tiff, temp_path, driver="COG", **_OPTIONS)
        finally:
            source_tiff.unlink(missing_ok=True)
        crash_point("cog.rename")


def scratch_bytes(shape: tuple[int, int]) -> int:
    """Return the bytes of the plain GeoTIFF beside a COG of ``shape`` (y, x) being written."""
    rows, cols = (-(-side // _BLOCK) * _BLOCK for side in shape)
    return rows * cols * np.dtype(np.float32).itemsize


def check_cog(path: Path) -> tuple[int, int]:
    """Prove that a COG is valid and all its blocks can be read; return its shape (y, x).

    Raises:
        CorruptError: it is not; says what is wrong.
    """
    shape = (0, 0)
    try:
        with rasterio.Env(**_ENV):
            is_valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
            shape = _read_all(path)
    except _GDAL_ERRORS as error:
        is_valid = False
        errors = [f"unreadable: {error}"]
        warnings = []
    if not is_valid:
        raise CorruptError(
            f"{path} is not a valid COG ({'; '.join(map(str, [*errors, *warnings]))}), so it "
            "cannot be served; export it again from the forecast's Zarr store"
        )
    return shape


def read_cog(path: Path, window: Window) -> Float32Array:
    """Read pixels of a COG (y, x).

    Raises:
        CorruptError: the file is damaged.
    """
    try:
        with rasterio.Env(**_ENV), rasterio.open(path, driver="GTiff") as raster:
            pixels = raster.read(1, window=window.slices)
            return np.asarray(pixels, dtype=np.float32)
    except _GDAL_ERRORS as error:
        raise CorruptError(f"{path} cannot be read ({error}); export it again") from None


def list_cogs(forecast: Forecast) -> dict[str, tuple[str, int]]:
    """List the COGs of a forecast by name, each with its variable and lead."""
    return {
        f"{variable}_{forecast.label(lead)}.tif": (variable, lead)
        for variable in forecast.variables
        for lead in range(1, len(forecast.times) + 1)
    }


def export_cog(forecast: Forecast, name: str) -> Path:
    """Write one of ``list_cogs`` beside the forecast; it replaces an earlier one."""
    variable, lead = list_cogs(forecast)[name]
    attributes = get_array(forecast.group, variable).attrs
    group_attributes: dict[str, Any] = dict(forecast.group.attrs)
    tags = {
        key: str(group_attributes[key])
        for key in ("issue", "recipe", "title", *_LICENSE_ATTRIBUTES)
        if key in group_attributes
    }
    if "cell_methods" in attributes:
        tags["cell_methods"] = str(attributes["cell_methods"])
    tags |= {
        "bundles": ", ".join(bundle["digest"] for bundle in forecast.bundles),
        "variable": variable,
        "init_time": forecast.step.label(forecast.init),
        "time": forecast.label(lead),
        "lead": str(lead),
    }
    metadata = CogMetadata(
        description=str(attributes.get("long_name", variable)),
        units=str(attributes["units"]),
        time=forecast.times[lead - 1],
        tags=tags,
    )
    path = forecast.path.parent / COGS / name
    write_cog(path, forecast.read_blocks(variable, lead), forecast.grid, metadata)
    return path


def export_cogs(stage: Path) -> list[Path]:
    """Write every frame of a finished forecast as a COG, block by block."""
    forecast = open_forecast(stage / FORECAST)
    return [export_cog(forecast, name) for name in list_cogs(forecast)]


def _write_source_tiff(
    path: Path, blocks: Iterable[WindowValues], grid: GeoBox, metadata: CogMetadata
) -> None:
    """Write the tiled GeoTIFF that the COG driver copies."""
    rows, cols = grid.shape
    profile = {
        "height": rows,
        "width": cols,
        "count": 1,
        "dtype": "float32",
        "nodata": np.nan,
        "crs": grids.crs_of(grid).to_wkt(),
        "transform": grid.affine,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "BIGTIFF": "IF_SAFER",
    }
    with rasterio.open(path, "w", driver="GTiff", **profile) as raster:
        statistics = Statistics()
        for window, values in blocks:
            _check_block(window, values)
            raster.write(values, 1, window=window.slices)
            statistics += Statistics.of(values)
        if statistics.size != rows * cols:
            raise ValueError(
                f"the blocks hold {statistics.size} px of a grid of {rows} x {cols} px, so "
                "others would be zero; give windows that cover it once"
            )
        raster.set_band_description(1, metadata.description)
        raster.set_band_unit(1, metadata.units)
        raster.update_tags(**_file_tags(metadata))
        raster.update_tags(1, **_statistics_tags(statistics))


def _file_tags(metadata: CogMetadata) -> dict[str, str]:
    tags = dict(metadata.tags) | {
        "AREA_OR_POINT": "Area",
        "TIFFTAG_SOFTWARE": f"cubecast {version('cubecast')}",
        "TIFFTAG_IMAGEDESCRIPTION": metadata.description,
    }
    if metadata.time is not None:
        timestamp = metadata.time.astype("datetime64[s]").item()
        tags["TIFFTAG_DATETIME"] = timestamp.strftime("%Y:%m:%d %H:%M:%S")
    return tags


def _check_block(window: Window, values: Float32Array) -> None:
    if values.dtype != np.float32 or values.shape != window.shape:
        raise ValueError(
            f"values are {values.dtype} of shape {values.shape}, but {window} of a frame is "
            f"float32 of shape {window.shape}; convert them first"
        )


def _statistics_tags(statistics: Statistics) -> dict[str, str]:
    """Return the statistics by GDAL's names, so that ``gdalinfo -stats`` reads them."""
    return {
        f"STATISTICS_{name.upper()}": repr(value)
        for name, value in statistics.to_stac().items()
    }


def _read_all(path: Path) -> tuple[int, int]:
    """Read every block: opening a file that was cut short raises nothing."""
    with rasterio.open(path, driver="GTiff") as raster:
        rows, cols = raster.shape
        n_levels = len(raster.overviews(1))
    for level in [None, *range(n_levels)]:
        options = {} if level is None else {"overview_level": level}
        with rasterio.open(path, driver="GTiff", **options) as raster:
            for _, window in raster.block_windows(1):
                raster.read(1, window=window)
    return rows, cols


@contextmanager
def _reraise_gdal_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except _GDAL_ERRORS as error:
        raise OSError(
            f"{path} could not be written ({error}), so nothing is left there; "
            "check the folder's permissions, and run again"
        ) from error
