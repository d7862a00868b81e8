"""What an issue must hold to be worth reading, whether staged or published."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stores.chunks import (
    READ_ERRORS,
    ChunkFile,
    describe_chunk_file,
    is_readable,
    list_chunk_files,
)
from stores.cog import check_cog, list_cogs, read_cog
from stores.errors import CorruptError
from stores.forecast import Float32, Forecast, open_forecast
from stores.forecast_template import DOMAIN
from stores.issue import COGS, FORECAST

Bools = npt.NDArray[np.bool_]


def check_contents(folder: Path, *, damaged: Collection[str] = ()) -> list[str]:
    """Read all of a forecast and list what is wrong with it.

    Every chunk file is there and readable, values are finite in the domain and NaN outside,
    every COG is valid and holds the pixels of the Zarr store. One frame is in memory at a time.

    Args:
        folder: a stage or a published issue.
        damaged: files that are known to be missing or altered; nothing more is said of them.
    """
    try:
        forecast = open_forecast(folder / FORECAST)
    except READ_ERRORS as error:
        return [f"{FORECAST} cannot be opened: {error}"]
    bad = {name.removeprefix(f"{FORECAST}/") for name in damaged if name.startswith(FORECAST)}
    findings = list(_check_chunk_files(forecast, bad))
    if findings or any(name.split("/")[0] not in forecast.variables for name in bad):
        return findings  # frames mean nothing without their coordinates
    return [*_check_frames(forecast, damaged=damaged, bad=bad)]


def _check_frames(
    forecast: Forecast, *, damaged: Collection[str], bad: Collection[str]
) -> Iterator[str]:
    """Check values and COG of every frame that reads from no file known to be bad."""
    inside = forecast.read_domain()
    if not inside.any():
        yield f"{DOMAIN!r} holds no pixel, so nothing is forecast; write it with write_domain"
        return
    folder, chunks = forecast.path.parent, list_chunk_files(forecast.group).values()
    has_cogs = (folder / COGS).is_dir()
    for name, (variable, lead) in list_cogs(forecast).items():
        files = [f for f in chunks if f.array == variable and f.start[0] < lead <= f.stop[0]]
        if any(f"{variable}/{file.key}" in bad for file in files):
            continue
        try:
            frame = forecast.read(variable, lead)
        except READ_ERRORS:
            yield from _name_unreadable(forecast, files)
            continue
        yield from _check_frame(frame, inside, f"{variable!r} at {forecast.label(lead)}")
        if has_cogs and f"{COGS}/{name}" not in damaged:
            yield from _check_cog(folder / COGS / name, frame)


def _check_chunk_files(forecast: Forecast, bad: Collection[str]) -> Iterator[str]:
    """Find files that are missing, and small arrays that cannot be read; frames come later."""
    for name, file in list_chunk_files(forecast.group).items():
        if name in bad:
            continue
        if not (forecast.path / name).is_file():
            what = describe_chunk_file(forecast.group, file)
            yield f"{FORECAST}/{name} is missing: {what} would read as fill values"
        elif file.array not in forecast.variables:
            yield from _name_unreadable(forecast, [file])


def _name_unreadable(forecast: Forecast, files: Iterable[ChunkFile]) -> Iterator[str]:
    for file in files:
        if not is_readable(forecast.group, file):
            what = describe_chunk_file(forecast.group, file)
            yield f"{FORECAST}/{file.array}/{file.key} cannot be read: {what} is damaged"


def _check_frame(frame: Float32, inside: Bools, what: str) -> Iterator[str]:
    yield from _report(
        inside & ~np.isfinite(frame), f"{what} has no finite value in the domain"
    )
    yield from _report(~inside & ~np.isnan(frame), f"{what} has values outside the domain")


def _check_cog(path: Path, frame: Float32) -> Iterator[str]:
    try:
        check_cog(path)
        pixels = read_cog(path)
    except CorruptError as error:
        yield str(error)
        return
    if pixels.shape != frame.shape:
        yield f"{COGS}/{path.name} has {pixels.shape} px where the Zarr store has {frame.shape}"
        return
    same = (pixels == frame) | (np.isnan(pixels) & np.isnan(frame))
    yield from _report(~same, f"{COGS}/{path.name} differs from the Zarr store")


def _report(wrong: Bools, what: str) -> Iterator[str]:
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        yield f"{what} in {np.count_nonzero(wrong)} px, the first at y={y} x={x}"
