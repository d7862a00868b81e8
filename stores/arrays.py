"""Zarr groups, template first: metadata, then blocks by their owners, then one commit.

Every array carries crc32c behind its compressor, and empty chunks are written, so that a
flipped bit is an error and a missing file is not a NaN. The consolidated metadata in the root
is written last: a reader that opens the group sees what it was before, or what it is after.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from odc.geo.geobox import GeoBox
from xarray.backends.zarr import FillValueCoder
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore

from stores import grid as grids
from stores.array_types import AnyArray
from stores.disk_space import reraise_disk_full
from stores.errors import CorruptError
from stores.files import write_text
from stores.layout import check_shard_aligned
from stores.names import SPATIAL_REF

Attributes = Mapping[str, Any]

METADATA_FILE = "zarr.json"
_CODECS = (ZstdCodec(level=3), Crc32cCodec())


@dataclass(frozen=True, slots=True)
class ArrayTemplate:
    """An array before it holds anything."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...] | None = None
    dtype: str = "float32"
    attributes: Attributes = field(default_factory=dict)
    has_grid_mapping: bool = True
    """Whether the array lies on the grid and points to ``spatial_ref``."""


@dataclass(frozen=True, slots=True)
class Coordinate:
    """A small array that is written whole, with the template."""

    name: str
    dims: tuple[str, ...]
    values: AnyArray
    attributes: Attributes = field(default_factory=dict)
    chunk_length: int = 0
    """Length of its one chunk along the first axis, where the coordinate will grow."""


def create_group(
    path: Path,
    *,
    grid: GeoBox,
    arrays: Iterable[ArrayTemplate],
    coordinates: Iterable[Coordinate] = (),
    attributes: Attributes | None = None,
) -> None:
    """Write the template of a group: y, x, spatial_ref, coordinates and empty arrays.

    The group cannot be opened through consolidated metadata before ``commit_group``.
    """
    all_coordinates = list(coordinates)
    auxiliary = [SPATIAL_REF, *(c.name for c in all_coordinates if c.dims != (c.name,))]
    group_attributes = dict(attributes or {}) | grids.geozarr_attributes(grid)
    group_attributes["coordinates"] = " ".join(auxiliary)
    with reraise_disk_full(path):
        group = zarr.create_group(path, attributes=group_attributes, overwrite=False)
        _fill_group(group, grid, arrays, all_coordinates)


def _fill_group(
    group: zarr.Group,
    grid: GeoBox,
    arrays: Iterable[ArrayTemplate],
    coordinates: Iterable[Coordinate],
) -> None:
    for name, (values, cf) in grids.cf_coordinates(grid).items():
        add_coordinate(group, Coordinate(name, (name,), values, cf))
    mapping = Coordinate(SPATIAL_REF, (), np.array(0), grids.cf_grid_mapping(grid))
    add_coordinate(group, mapping)
    for coordinate in coordinates:
        add_coordinate(group, coordinate)
    for template in arrays:
        add_array(group, template)


def add_coordinate(group: zarr.Group, coordinate: Coordinate) -> None:
    """Create one coordinate and write it whole."""
    values = np.asarray(coordinate.values)
    chunk = (
        (coordinate.chunk_length or values.shape[0], *values.shape[1:]) if values.shape else ()
    )
    with zarr.config.set({"array.write_empty_chunks": True}):
        array = group.create_array(
            coordinate.name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=tuple(max(1, length) for length in chunk),
            compressors=_CODECS,
            dimension_names=coordinate.dims,
            attributes=dict(coordinate.attributes),
        )
        array[...] = values


def add_array(group: zarr.Group, template: ArrayTemplate) -> None:
    """Create one empty array; floats are NaN until they are written."""
    is_float = np.dtype(template.dtype).kind == "f"
    attributes = dict(template.attributes)
    if is_float:
        attributes["_FillValue"] = FillValueCoder.encode(np.nan, np.dtype(template.dtype))
    if template.has_grid_mapping:
        attributes["grid_mapping"] = SPATIAL_REF
    group.create_array(
        template.name,
        shape=template.shape,
        dtype=template.dtype,
        chunks=template.chunk,
        shards=template.shard,
        compressors=_CODECS,
        fill_value=np.nan if is_float else 0,
        dimension_names=template.dims,
        attributes=attributes,
    )


def open_group(path: Path, *, mode: str = "r") -> zarr.Group:
    """Open a group as its last commit left it; ``r+`` opens it for its writers.

    Raises:
        CorruptError: there is no committed group at ``path``.
    """
    committed = mode == "r"
    try:
        return zarr.open_group(path, mode=mode, use_consolidated=committed)  # type: ignore[arg-type]
    except (
        FileNotFoundError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
    ) as error:
        raise CorruptError(
            f"{path} holds no finished Zarr group ({error!s:.300}), so there is nothing to "
            "read; run the step that writes it again"
        ) from None


def get_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """Return one array of a group.

    Raises:
        KeyError: the group has no such array.
    """
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        known = ", ".join(sorted(group.array_keys()))
        raise KeyError(f"{group.store_path} has no array {name!r}; it has {known}")
    return array


def write_block(array: zarr.Array[Any], start: Sequence[int], values: AnyArray) -> None:
    """Write ``values`` (..., y, x) at ``start``, owning every shard that is touched.

    Raises:
        ValueError: the block shares a shard with another; nothing is written.
    """
    stop = [begin + length for begin, length in zip(start, values.shape, strict=True)]
    names = array.metadata.dimension_names or [str(axis) for axis in range(array.ndim)]  # type: ignore[union-attr]
    dims = [str(name) for name in names]
    check_shard_aligned(
        start, stop, shape=array.shape, shard=array.shards or array.chunks, dims=dims
    )
    index = tuple(slice(begin, end) for begin, end in zip(start, stop, strict=True))
    with reraise_disk_full(array_path(array)):
        array.with_config({"write_empty_chunks": True})[index] = values


def array_path(array: zarr.Array[Any]) -> Path:
    """Return the folder of an array."""
    store = array.store
    assert isinstance(store, LocalStore)  # ours are opened by their paths
    return store.root / array.path


def commit_group(path: Path, attributes: Attributes | None = None) -> None:
    """Make everything written so far visible in one small write of the root metadata."""
    write_root_metadata(path, consolidate_metadata(path, attributes or {}))


def consolidate_metadata(path: Path, attributes: Attributes) -> dict[str, Any]:
    """Build the root metadata that will show everything written so far."""
    root: dict[str, Any] = json.loads((path / METADATA_FILE).read_text())
    root["attributes"] |= dict(attributes)
    members = {
        file.parent.name: json.loads(file.read_text())
        for file in sorted(path.glob(f"*/{METADATA_FILE}"))
    }
    root["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": members,
    }
    return root


def write_root_metadata(path: Path, root: Mapping[str, Any]) -> None:
    """Replace the root metadata at once, laid out as Zarr wrote it: its keys are not sorted."""
    write_text(path / METADATA_FILE, json.dumps(root, indent=1))
