"""What an issue must hold to be worth reading, whether staged or published."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stores.array_types import BoolArray
from stores.chunks import (
    DECODE_ERRORS,
    ChunkFile,
    describe_chunk_file,
    is_readable,
    list_chunk_files,
)
from stores.cog import check_cog, list_cogs, read_cog
from stores.errors import CorruptError
from stores.forecast import Forecast, open_forecast
from stores.issue import COGS, FORECAST
from stores.names import DOMAIN
from stores.retry import reraise_as_corrupt
from stores.windows import Window


def check_issue_contents(folder: Path, *, damaged: Collection[str] = ()) -> list[str]:
    """Read all of a forecast and list what is wrong with it.

    Every chunk file is there and readable, values are finite in the domain and NaN outside,
    every COG is valid and holds the pixels of the Zarr store. Memory holds a window at a time.

    Args:
        folder: a stage or a published issue.
        damaged: files that are known to be missing or altered; nothing more is said of them.
    """
    try:
        forecast = open_forecast(folder / FORECAST)
    except DECODE_ERRORS as error:
        return [f"{FORECAST} cannot be opened: {error!s:.1000}"]
    try:
        with reraise_as_corrupt(folder / FORECAST, "forecast it again"):
            return _check(forecast, damaged)
    except CorruptError as error:
        return [str(error)]


def _check(forecast: Forecast, damaged: Collection[str]) -> list[str]:
    damaged_chunks = {
        name.removeprefix(f"{FORECAST}/") for name in damaged if name.startswith(FORECAST)
    }
    findings = list(_check_chunk_files(forecast, damaged_chunks))
    if findings or any(name.split("/")[0] not in forecast.variables for name in damaged_chunks):
        return findings  # frames mean nothing without their coordinates
    return [*_check_frames(forecast, damaged=damaged, damaged_chunks=damaged_chunks)]


def _check_frames(
    forecast: Forecast, *, damaged: Collection[str], damaged_chunks: Collection[str]
) -> Iterator[str]:
    """Check values and COG of every frame that reads from no file known to be damaged."""
    if not any(forecast.read_domain(window).any() for window in forecast.chunk_windows(DOMAIN)):
        yield f"{DOMAIN!r} holds no pixel, so nothing is forecast; write it with write_domain"
        return
    folder = forecast.path.parent
    chunks = list_chunk_files(forecast.group).values()
    has_cogs = (folder / COGS).is_dir()
    for name, (variable, lead) in list_cogs(forecast).items():
        files = [f for f in chunks if f.array == variable and f.start[0] < lead <= f.stop[0]]
        if any(f"{variable}/{file.key}" in damaged_chunks for file in files):
            continue
        is_served = has_cogs and f"{COGS}/{name}" not in damaged
        try:
            findings = list(_check_frame(forecast, variable, lead))
            if is_served:
                findings += _check_cog(folder / COGS / name, forecast, variable, lead)
        except DECODE_ERRORS as error:
            findings = list(_find_unreadable(forecast, files)) or [str(error)]
        yield from findings


def _check_chunk_files(forecast: Forecast, damaged_chunks: Collection[str]) -> Iterator[str]:
    """Find files that are missing, and small arrays that cannot be read; frames come later."""
    for name, file in list_chunk_files(forecast.group).items():
        if name in damaged_chunks:
            continue
        if not (forecast.path / name).is_file():
            what = describe_chunk_file(forecast.group, file)
            yield f"{FORECAST}/{name} is missing: {what} would read as fill values"
        elif file.array not in forecast.variables:
            yield from _find_unreadable(forecast, [file])


def _find_unreadable(forecast: Forecast, files: Iterable[ChunkFile]) -> Iterator[str]:
    for file in files:
        if not is_readable(forecast.group, file):
            what = describe_chunk_file(forecast.group, file)
            yield f"{FORECAST}/{file.array}/{file.key} cannot be read: {what} is damaged"


def _check_frame(forecast: Forecast, variable: str, lead: int) -> Iterator[str]:
    """Check that values are finite in the domain, and NaN outside."""
    what = f"{variable!r} at {forecast.format_time(lead)}"
    missing = _PixelFindings()
    outside = _PixelFindings()
    for window, frame in forecast.read_blocks(variable, lead):
        domain = forecast.read_domain(window)
        missing += _PixelFindings.of(domain & ~np.isfinite(frame), window)
        outside += _PixelFindings.of(~domain & ~np.isnan(frame), window)
    yield from missing.report(f"{what} has no finite value in the domain")
    yield from outside.report(f"{what} has values outside the domain")


def _check_cog(path: Path, forecast: Forecast, variable: str, lead: int) -> Iterator[str]:
    """Check that a COG is valid and holds what the store holds."""
    name = f"{COGS}/{path.name}"
    differing = _PixelFindings()
    try:
        shape = check_cog(path)
        if shape != forecast.shape:
            yield f"{name} has {shape} px where the Zarr store has {forecast.shape}"
            return
        for window, frame in forecast.read_blocks(variable, lead):
            pixels = read_cog(path, window)
            same = (pixels == frame) | (np.isnan(pixels) & np.isnan(frame))
            differing += _PixelFindings.of(~same, window)
    except CorruptError as error:
        yield str(error)
        return
    yield from differing.report(f"{name} differs from the Zarr store")


@dataclass(frozen=True, slots=True)
class _PixelFindings:
    """Pixels that are wrong; a sum over windows."""

    count: int = 0
    first: tuple[int, int] | None = None
    """Row and column of the uppermost, and of these the leftmost."""

    @classmethod
    def of(cls, wrong: BoolArray, window: Window) -> _PixelFindings:
        """Count those of one window (y, x)."""
        if not wrong.any():
            return cls()
        y, x = np.argwhere(wrong)[0].tolist()
        return cls(int(np.count_nonzero(wrong)), (window.y0 + y, window.x0 + x))

    def __add__(self, other: _PixelFindings) -> _PixelFindings:
        firsts = [first for first in (self.first, other.first) if first is not None]
        return _PixelFindings(self.count + other.count, min(firsts, default=None))

    def report(self, what: str) -> Iterator[str]:
        """Describe what is wrong with them, if there are any."""
        if self.first is not None:
            yield f"{what} in {self.count} px, the first at y={self.first[0]} x={self.first[1]}"
