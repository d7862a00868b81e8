"""Per-pixel fields that belong to a model: its domain, its parts and its climatologies."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from pipeline.split import PARTS
from pipeline.streams.lru_cache import Arrays, LRUCache
from stores.array_types import AnyArray, BoolArray, Float32Array
from stores.arrays import (
    ArrayTemplate,
    Coordinate,
    commit_group,
    create_group,
    get_array,
    open_group,
    write_block,
)
from stores.seasons import Seasons
from stores.times import Step
from stores.windows import Window

FIELDS = "fields.zarr"
DOMAIN = "domain"
PART = "part"
CLIMATOLOGY = "climatology"
SEASON = "season"
_CYCLES = ("year", "day")
_PART_NUMBERS = {part: number for number, part in enumerate(PARTS, start=1)}
_SIDE = 512
_SUMS_BYTES = 16  # of a pixel and season while a climatology is summed
_BLOCK_BYTES = 128 << 20  # 50 MB at twelve seasons; blocks of many seasons are smaller
FIELD_CACHE_BYTES = 256 << 20
"""Fields that a process keeps; a number of windows would be no bound in bytes."""
_CACHE = LRUCache(FIELD_CACHE_BYTES)


def create_fields(
    path: Path,
    grid: GeoBox,
    *,
    seasons: Seasons,
    climatologies: Mapping[str, str],
    by_place: bool = False,
) -> None:
    """Write the template of a model's fields: ``domain`` and climatologies (season, y, x).

    Args:
        path: the group.
        grid: of the fields.
        seasons: what climatologies hold.
        climatologies: units by name.
        by_place: whether ``part`` says which pixels are whose.
    """
    side = _side(len(seasons))
    chunk = (min(side, grid.shape[0]), min(side, grid.shape[1]))
    shape = tuple(grid.shape)
    flags = partial(ArrayTemplate, dims=("y", "x"), shape=shape, chunk=chunk, dtype="uint8")
    maps = [
        flags(
            DOMAIN,
            attributes={"long_name": "where forecasts are made", "flag_values": [0, 1]},
        )
    ]
    if by_place:
        attributes = {
            "long_name": "part whose samples hold the pixel",
            "flag_values": [0, *_PART_NUMBERS.values()],
            "flag_meanings": " ".join(["none", *_PART_NUMBERS]),
        }
        maps.append(flags(PART, attributes=attributes))
    templates = [
        ArrayTemplate(
            name,
            ("season", "y", "x"),
            (len(seasons), *grid.shape),
            (len(seasons), *chunk),
            attributes={"long_name": "seasonal mean of the training part", "units": units},
        )
        for name, units in climatologies.items()
    ]
    axis = Coordinate(
        SEASON, (SEASON,), np.array(seasons.season_numbers), _season_attributes(seasons)
    )
    create_group(path, grid=grid, arrays=[*maps, *templates], coordinates=[axis])


def field_blocks(shape: tuple[int, int], n_seasons: int) -> list[Window]:
    """Cut a grid into the windows that one writer of fields owns."""
    return list(Window.from_shape(shape).blocks(_side(n_seasons), _side(n_seasons)))


def _side(n_seasons: int) -> int:
    """Choose the side of a block, so that its sums fit into a worker [px]."""
    side = _SIDE
    while side > 1 and n_seasons * side * side * _SUMS_BYTES > _BLOCK_BYTES:
        side //= 2
    return side


def _season_attributes(seasons: Seasons) -> dict[str, Any]:
    return {
        "long_name": "season: time of year * times_of_day + time of day, each from 0",
        "step": str(seasons.step),
        "times_of_year": seasons.n_of_year,
        "times_of_day": seasons.n_of_day,
    }


@lru_cache(maxsize=8)
def read_seasons(path: Path) -> Seasons:
    """Read which seasons the climatologies hold."""
    array = get_array(open_group(path), SEASON)
    step = Step.parse(str(array.attrs["step"]))
    n_of_year, n_of_day = (int(str(array.attrs[f"times_of_{cycle}"])) for cycle in _CYCLES)
    return Seasons(step, n_of_year, n_of_day, tuple(np.asarray(array[...]).tolist()))


def write_field(path: Path, name: str, window: Window, values: AnyArray) -> None:
    """Write one block of a field (season, y, x), or of a map (y, x)."""
    array = get_array(open_group(path, mode="r+"), name)
    start = (*(0,) * (array.ndim - 2), window.y0, window.x0)
    write_block(array, start, values)


def finish_fields(path: Path) -> None:
    """Make the fields readable."""
    commit_group(path)


def read_field(path: Path, name: str, window: Window) -> Float32Array:
    """Read a window of a field (season, y, x), and keep it: nobody writes it any more."""
    return _CACHE.get_or_load(
        (path, name, window), lambda: (read_field_uncached(path, name, window),)
    )[0]


def read_field_uncached(path: Path, name: str, window: Window) -> Float32Array:
    """Read a window of a field (season, y, x) that is still being written."""
    values = get_array(_fields(path), name)[..., *window.slices]
    return np.asarray(values, dtype=np.float32)


def read_domain(path: Path, window: Window) -> BoolArray:
    """Read where forecasts are made (y, x)."""

    def read() -> Arrays:
        return (np.asarray(get_array(_fields(path), DOMAIN)[window.slices]) == 1,)

    return _CACHE.get_or_load((path, DOMAIN, window), read)[0]


def write_parts(path: Path, areas: Mapping[str, BoolArray]) -> None:
    """Write the area of every part (y, x); no pixel is in two."""
    rows, cols = next(iter(areas.values())).shape
    values = np.zeros((rows, cols), dtype=np.uint8)
    for part, area in areas.items():
        values[area] = _PART_NUMBERS[part]
    write_field(path, PART, Window.from_shape((rows, cols)), values)


def has_parts(path: Path) -> bool:
    """Whether parts are split by place."""
    return PART in _fields(path)


def read_part_area(path: Path, part: str, window: Window) -> BoolArray:
    """Read where samples of a part lie (y, x): everywhere, unless parts are split by place."""
    if not has_parts(path):
        return np.ones(window.shape, dtype=np.bool_)

    def read() -> Arrays:
        return (np.asarray(get_array(_fields(path), PART)[window.slices]),)

    numbers = _CACHE.get_or_load((path, PART, window), read)[0]
    return np.equal(numbers, _PART_NUMBERS[part])


def read_scored_area(path: Path, part: str, window: Window) -> BoolArray:
    """Read which pixels count when a part is scored (y, x): its own, inside the domain."""
    return read_domain(path, window) & read_part_area(path, part, window)


@lru_cache(maxsize=8)
def _fields(path: Path) -> Any:
    return open_group(path)
