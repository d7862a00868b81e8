"""GeoTIFFs: what they declare, and their values as float32 with NaN where invalid."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from stores.archive import SourceVariable
from stores.errors import ArchiveError, GridError
from stores.files import sha256_of
from stores.grid import grid_of

Values = npt.NDArray[np.float32]

SUFFIXES = (".tif", ".tiff", ".gtiff")

_SENTINEL = 1e30  # larger than any quantity, smaller than the -3.4e38 and 9.97e36 of old tools
_PIECE_BYTES = 16 << 20
_SIDECARS = (".msk", ".aux.xml")  # GDAL reads masks, nodata and scales from them
_MARKER = re.compile(r"(band(\d+))?(gdal|netcdf)?(nodata|nodatavalue|fillvalue|missingvalue)")
_UNREADABLE = (RasterioError, OSError, ValueError, GridError, NotGeoreferencedWarning)


@dataclass(frozen=True, slots=True)
class Header:
    """What one band of a file declares."""

    grid: GeoBox
    dtype: str
    nodata: tuple[float, ...]
    """Every marker that is declared, in the file's own numbers."""
    nodata_from: str
    """Where the invalid pixels are declared: profile, tag, mask, recipe."""
    scale: float
    offset: float
    has_mask: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """How many pixels are what; a sum over blocks, files and months."""

    valid: int = 0
    nodata: int = 0
    infinite: int = 0
    outside: int = 0
    """Outside valid_range."""
    minimum: float = np.inf
    """Smallest and largest valid value [units]."""
    maximum: float = -np.inf

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.valid + other.valid,
            self.nodata + other.nodata,
            self.infinite + other.infinite,
            self.outside + other.outside,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.valid + self.nodata + self.infinite + self.outside


@dataclass(frozen=True, slots=True)
class Scan:
    """What reading every block of a file found."""

    header: Header
    counts: Counts


def read_header(path: Path, variable: SourceVariable) -> Header:
    """Read what the variable's band declares; proves nothing about its blocks.

    Raises:
        ArchiveError: the file is no GeoTIFF, lies nowhere, or has no such band.
    """
    with _opened(path) as raster:
        return _header(raster, variable)


def scan(path: Path, variable: SourceVariable) -> Scan:
    """Read every block, which is what shows a file that was cut short, and count its pixels.

    Raises:
        ArchiveError: something cannot be read.
    """
    with _opened(path) as raster:
        header = _header(raster, variable)
        counts = Counts()
        for window in _pieces(raster, variable.band):
            counts += _read(raster, variable, header, window)[1]
        return Scan(header, counts)


def read_values(path: Path, variable: SourceVariable) -> tuple[Values, GeoBox, Counts]:
    """Read a whole band: values with NaN where invalid (y, x), their grid, and what was what.

    Raises:
        ArchiveError: something cannot be read.
    """
    with _opened(path) as raster:
        header = _header(raster, variable)
        values, counts = _read(raster, variable, header, None)
        return values, header.grid, counts


def digest_of(path: Path) -> str:
    """Digest a file with the sidecars from which GDAL takes values and masks."""
    sidecars = [path.with_name(path.name + suffix) for suffix in _SIDECARS]
    digests = [sha256_of(file) for file in (path, *sidecars) if file.exists()]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[rasterio.DatasetReader]:
    """Open for one thread; the driver is named, because a VRT may call itself .tif."""
    try:
        with rasterio.open(path, driver="GTiff") as raster:
            yield raster
    except ArchiveError:
        raise
    except _UNREADABLE as error:
        cause = error.__cause__ or error  # GDAL's own words stand in the cause
        text = str(cause).replace(str(path), path.name)
        raise ArchiveError(f"{path.name} cannot be read: {text}") from error


def _header(raster: Any, variable: SourceVariable) -> Header:
    if variable.band > raster.count:
        raise ArchiveError(
            f"{Path(raster.name).name} has {raster.count} bands and no band {variable.band}; "
            f"correct 'band' of the variable {variable.name!r}"
        )
    index = variable.band - 1
    flags = raster.mask_flag_enums[index]
    has_mask = MaskFlags.per_dataset in flags or MaskFlags.alpha in flags
    markers = _markers(raster, variable)
    sources = [name for name, found in markers.items() if found]
    header = Header(
        grid=grid_of(raster),
        dtype=raster.dtypes[index],
        nodata=tuple(dict.fromkeys(value for found in markers.values() for value in found)),
        nodata_from=", ".join([*sources, *(["mask"] if has_mask else [])]),
        scale=float(raster.scales[index]),
        offset=float(raster.offsets[index]),
        has_mask=has_mask,
    )
    return header if header.scale else replace(header, scale=1.0)


def _markers(raster: Any, variable: SourceVariable) -> dict[str, list[float]]:
    """Collect the markers of missing pixels by where they stand."""
    declared = raster.nodatavals[variable.band - 1]
    found = {"profile": [] if declared is None else [float(declared)]}
    for tags in (raster.tags(), raster.tags(variable.band)):
        for key, text in tags.items():
            if _is_marker(key, variable.band):
                found[f"tag {key}"] = _numbers(text)
    found["recipe"] = [] if variable.nodata is None else [variable.nodata]
    return found


def _is_marker(key: str, band: int) -> bool:
    """Tell whether a tag's name says nodata: 'Nodata', 'rain#_FillValue', 'band_2_nodata'."""
    plain = re.sub(r"[^a-z0-9]", "", key.rpartition("#")[2].lower())
    match = _MARKER.fullmatch(plain)
    return match is not None and int(match[2] or band) == band


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in re.split(r"[,;\s]+", text.strip("{}[]() \t"))]
    except ValueError:
        return []


def _pieces(raster: Any, band: int) -> Iterator[RasterWindow]:
    """Cut a raster into stripes of whole blocks, so that every block is decoded once."""
    height = raster.block_shapes[band - 1][0]
    row_bytes = raster.width * np.dtype(raster.dtypes[band - 1]).itemsize
    rows = height * max(1, _PIECE_BYTES // (row_bytes * height))
    for start in range(0, raster.height, rows):
        yield RasterWindow(0, start, raster.width, min(rows, raster.height - start))


def _read(
    raster: Any, variable: SourceVariable, header: Header, window: RasterWindow | None
) -> tuple[Values, Counts]:
    stored = raster.read(variable.band, window=window)
    missing = _missing(stored, header)
    if header.has_mask:
        missing |= raster.read_masks(variable.band, window=window) == 0
    with np.errstate(over="ignore", invalid="ignore"):  # markers such as -1.8e308
        values = stored.astype(np.float32)
        if header.scale != 1 or header.offset != 0:
            values = (stored * header.scale + header.offset).astype(np.float32)
    return _judge(values, missing, variable.valid_range)


def _missing(stored: npt.NDArray[Any], header: Header) -> npt.NDArray[np.bool_]:
    """Find the markers among numbers as the file holds them; -9999 is none of a uint8."""
    missing = np.zeros(stored.shape, dtype=bool)
    with np.errstate(over="ignore"):
        if stored.dtype.kind == "f":
            missing |= np.isnan(stored) | (np.isfinite(stored) & (np.abs(stored) > _SENTINEL))
        for marker in header.nodata:
            if stored.dtype.kind == "f":
                missing |= stored == stored.dtype.type(marker)
            elif _fits(marker, stored.dtype):
                missing |= stored == int(marker)
    return missing


def _fits(marker: float, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return bool(float(marker).is_integer() and limits.min <= marker <= limits.max)


def _judge(
    values: Values, missing: npt.NDArray[np.bool_], valid_range: tuple[float, float] | None
) -> tuple[Values, Counts]:
    """Turn everything that is no value into NaN, and count it by its kind."""
    infinite = ~np.isfinite(values) & ~missing
    low, high = valid_range or (-np.inf, np.inf)
    outside = ~missing & ~infinite & ((values < low) | (values > high))
    values[missing | infinite | outside] = np.nan
    valid = np.isfinite(values)
    counts = Counts(
        valid=int(valid.sum()),
        nodata=int(missing.sum()),
        infinite=int(infinite.sum()),
        outside=int(outside.sum()),
        minimum=float(values[valid].min()) if valid.any() else np.inf,
        maximum=float(values[valid].max()) if valid.any() else -np.inf,
    )
    return values, counts
