"""GeoTIFFs: what they declare, and their values as float32 with NaN where invalid."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from stores.archive import SourceVariable
from stores.array_types import BoolArray, Float32Array
from stores.errors import ArchiveError, GridError
from stores.files import sha256_file
from stores.grid import raster_grid
from stores.header_checks import check_header
from stores.nodata import find_missing, find_nodata_values
from stores.scale_tags import find_unapplied
from stores.windows import Window

SUFFIXES = (".tif", ".tiff", ".gtiff")

READ_PX = 1 << 21
"""Pixels that are decoded and classified at a time."""
_SIDECARS = (".msk", ".aux.xml")  # GDAL reads masks, nodata and scales from them
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
    block: tuple[int, int] = (1, 1)
    """What the file decodes together (y, x) [px]."""
    n_bands: int = 1
    """Bands of the file, of which one is read."""
    unapplied: tuple[str, ...] = ()
    """Tags that speak of a scale or an offset where GDAL knows of none."""


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """How many pixels are what; a sum over blocks, files and months."""

    valid: int = 0
    nodata: int = 0
    infinite: int = 0
    outside: int = 0
    """Outside valid_range."""
    minimum: float = np.inf
    """Smallest and largest valid value [units]."""
    maximum: float = -np.inf
    zeros: int = 0
    """Of the valid ones."""
    sum_abs: float = 0.0
    """Sum of the valid values without their sign [units]."""
    min_nonzero: float = np.inf
    """Smallest of them that is not 0 [units]."""

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(
            self.valid + other.valid,
            self.nodata + other.nodata,
            self.infinite + other.infinite,
            self.outside + other.outside,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.zeros + other.zeros,
            self.sum_abs + other.sum_abs,
            min(self.min_nonzero, other.min_nonzero),
        )

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.valid + self.nodata + self.infinite + self.outside


@dataclass(frozen=True, slots=True)
class FileScan:
    """What reading every block of a file found."""

    header: Header
    counts: PixelCounts


@dataclass(frozen=True, slots=True)
class Band:
    """One band of an open file, read by windows; for one thread, while the file is open."""

    header: Header
    _raster: Any
    _variable: SourceVariable

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns [px]."""
        return self._raster.height, self._raster.width

    def read(self, window: Window) -> Float32Array:
        """Read a window (y, x), NaN where invalid.

        Raises:
            ArchiveError: something cannot be read.
        """
        values = np.empty(window.shape, dtype=np.float32)
        for part in plan_read_windows(window, self.header.block):
            values[part.relative_to(window).slices] = self._read_classified(part)[0]
        return values

    def count(self) -> PixelCounts:
        """Read every block once and count its pixels.

        Raises:
            ArchiveError: something cannot be read.
        """
        counts = PixelCounts()
        for part in plan_read_windows(Window.from_shape(self.shape), self.header.block):
            counts += _count(*self._read_classified(part))
        return counts

    def _read_classified(
        self, part: Window
    ) -> tuple[Float32Array, BoolArray, BoolArray, BoolArray]:
        """Read values (y, x), and which of them are missing, infinite, or out of range."""
        header = self.header
        band = self._variable.band
        rows, cols = part.shape
        window = RasterWindow(part.x0, part.y0, cols, rows)
        with _reraise_gdal_errors(Path(self._raster.name)):
            stored = self._raster.read(band, window=window)
            missing = find_missing(stored, header.nodata)
            if header.has_mask:
                missing |= self._raster.read_masks(band, window=window) == 0
        with np.errstate(over="ignore", invalid="ignore"):  # markers such as -1.8e308
            values = stored.astype(np.float32)
            if header.scale != 1 or header.offset != 0:
                values = (stored * header.scale + header.offset).astype(np.float32)
        if codes := self._variable.share_of:
            values = np.isin(values, codes).astype(np.float32)
        infinite = ~np.isfinite(values) & ~missing
        low, high = self._variable.valid_range or (-np.inf, np.inf)
        outside = ~missing & ~infinite & ((values < low) | (values > high))
        values[missing | infinite | outside] = np.nan
        return values, missing, infinite, outside


def read_header(path: Path, variable: SourceVariable) -> Header:
    """Read what the variable's band declares; proves nothing about its blocks.

    Raises:
        ArchiveError: the file is no GeoTIFF, lies nowhere, or has no such band.
    """
    with open_band(path, variable) as band:
        return band.header


def scan(path: Path, variable: SourceVariable) -> FileScan:
    """Read every block, which is what shows a file that was cut short, and count its pixels.

    Raises:
        ArchiveError: something cannot be read.
    """
    with open_band(path, variable) as band:
        return FileScan(band.header, band.count())


@contextmanager
def open_band(path: Path, variable: SourceVariable) -> Iterator[Band]:
    """Open the variable's band for one thread.

    Raises:
        ArchiveError: the file is no GeoTIFF, lies nowhere, or has no such band.
    """
    with ExitStack() as stack:
        with _reraise_gdal_errors(path):
            # The driver is named, because a VRT may call itself .tif.
            raster = stack.enter_context(rasterio.open(path, driver="GTiff"))
            header = _header(raster, variable)
        yield Band(header, raster, variable)


def plan_read_windows(window: Window, block: tuple[int, int]) -> Iterator[Window]:
    """Cut a window along the blocks of its file, so that each is decoded once.

    Each window holds ``READ_PX`` pixels at most; blocks that are larger are cut by rows.
    """
    rows, cols = block
    width = cols * max(1, READ_PX // (rows * cols))
    n_blocks = max(1, READ_PX // (min(width, window.x1) * rows))
    height = rows * n_blocks if rows * cols <= READ_PX else max(1, READ_PX // cols)
    aligned = Window(
        window.y0 // height * height, window.y1, window.x0 // width * width, window.x1
    )
    return (part.clip(window) for part in aligned.blocks(height, width))


def digest_raster(path: Path) -> str:
    """Digest a file with the sidecars from which GDAL takes values and masks."""
    sidecars = [path.with_name(path.name + suffix) for suffix in _SIDECARS]
    digests = [sha256_file(file) for file in (path, *sidecars) if file.exists()]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


@contextmanager
def _reraise_gdal_errors(path: Path) -> Iterator[None]:
    try:
        yield
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
    check_header(raster, variable.band)
    index = variable.band - 1
    flags = raster.mask_flag_enums[index]
    has_mask = MaskFlags.per_dataset in flags or MaskFlags.alpha in flags
    nodata_by_source = find_nodata_values(raster, variable)
    sources = [name for name, values in nodata_by_source.items() if values]
    header = Header(
        grid=raster_grid(raster),
        dtype=raster.dtypes[index],
        nodata=tuple(
            dict.fromkeys(value for values in nodata_by_source.values() for value in values)
        ),
        nodata_from=", ".join([*sources, *(["mask"] if has_mask else [])]),
        scale=float(raster.scales[index]),
        offset=float(raster.offsets[index]),
        has_mask=has_mask,
        block=raster.block_shapes[index],
        n_bands=raster.count,
        unapplied=find_unapplied(raster, variable.band),
    )
    return header if header.scale else replace(header, scale=1.0)


def _count(
    values: Float32Array, missing: BoolArray, infinite: BoolArray, outside: BoolArray
) -> PixelCounts:
    valid = values[np.isfinite(values)]
    magnitudes = np.abs(valid[valid != 0])
    return PixelCounts(
        valid=valid.size,
        nodata=int(missing.sum()),
        infinite=int(infinite.sum()),
        outside=int(outside.sum()),
        minimum=float(valid.min()) if valid.size else np.inf,
        maximum=float(valid.max()) if valid.size else -np.inf,
        zeros=valid.size - magnitudes.size,
        sum_abs=float(magnitudes.sum(dtype=np.float64)),
        min_nonzero=float(magnitudes.min()) if magnitudes.size else np.inf,
    )
