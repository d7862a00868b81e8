"""Per-pixel fields that belong to a model: its domain and its climatologies."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from pipeline.streams.kept import Arrays, Kept
from stores.arrays import (
    ArrayTemplate,
    array_of,
    commit_group,
    create_group,
    open_group,
    write_block,
)
from stores.windows import Window

FIELDS = "fields.zarr"
DOMAIN = "domain"
CLIMATOLOGY = "climatology"
_SIDE = 512  # one block: a few tens of MB at twelve seasons
_KEPT = Kept(256 << 20)  # per process; a number of windows would be no bound in bytes


def create_fields(
    path: Path,
    grid: GeoBox,
    *,
    climatologies: Iterable[str],
    n_seasons: int,
    units: dict[str, str],
) -> None:
    """Write the template of a model's fields: ``domain`` and climatologies (season, y, x)."""
    chunk = (min(_SIDE, grid.shape[0]), min(_SIDE, grid.shape[1]))
    domain = ArrayTemplate(
        DOMAIN,
        ("y", "x"),
        tuple(grid.shape),
        chunk,
        dtype="uint8",
        attributes={"long_name": "where forecasts are made", "flag_values": [0, 1]},
    )
    templates = [
        ArrayTemplate(
            name,
            ("season", "y", "x"),
            (n_seasons, *grid.shape),
            (n_seasons, *chunk),
            attributes={
                "long_name": "seasonal mean of the training part",
                "units": units[name],
            },
        )
        for name in climatologies
    ]
    create_group(path, grid=grid, arrays=[domain, *templates])


def field_blocks(shape: tuple[int, int]) -> list[Window]:
    """Cut a grid into the windows that one writer of fields owns."""
    return list(Window.whole(shape).blocks(_SIDE, _SIDE))


def write_field(path: Path, name: str, window: Window, values: npt.NDArray[Any]) -> None:
    """Write one block of a field."""
    array = array_of(open_group(path, mode="r+"), name)
    start = (*(0,) * (array.ndim - 2), window.y0, window.x0)
    write_block(array, start, values)


def finish_fields(path: Path) -> None:
    """Make the fields readable."""
    commit_group(path)


def read_field(path: Path, name: str, window: Window) -> npt.NDArray[np.float32]:
    """Read a window of a field (season, y, x)."""

    def read() -> Arrays:
        values = array_of(_fields(path), name)[..., *window.slices]
        return (np.asarray(values, dtype=np.float32),)

    return _KEPT.get((path, name, window), read)[0]


def read_domain(path: Path, window: Window) -> npt.NDArray[np.bool_]:
    """Read where forecasts are made (y, x)."""

    def read() -> Arrays:
        return (np.asarray(array_of(_fields(path), DOMAIN)[window.slices]) == 1,)

    return _KEPT.get((path, DOMAIN, window), read)[0]


@lru_cache(maxsize=8)
def _fields(path: Path) -> Any:
    return open_group(path)
