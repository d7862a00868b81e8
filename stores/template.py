"""The template of a cube: arrays, coordinates and CF attributes before any frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from stores import grid as grids
from stores.acdd import CONVENTIONS, extent_attributes
from stores.arrays import (
    ArrayTemplate,
    Coordinate,
    add_array,
    add_coordinate,
    create_group,
    get_array,
    open_group,
    write_block,
)
from stores.axes import time_coordinates
from stores.cube import GRID_KEY, KIND_KEY, STEP_KEY
from stores.cube_inputs import CubeInputs
from stores.ingest_plan import IngestPlan, PlannedVariable
from stores.names import TIME, YEAR, X, Y

_TIME_CHUNK = 4096  # dates in the one file of a time axis; a century of months is 1200

_CELL_METHODS = {"average": "area: mean", "mode": "area: mode"}


def create_cube(plan: IngestPlan, path: Path) -> None:
    """Write the template of a new cube to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    create_group(
        path,
        grid=plan.grid,
        arrays=[_array(plan, variable) for variable in plan.variables],
        coordinates=_coordinates(plan),
        attributes={
            "Conventions": CONVENTIONS,
            **extent_attributes(plan.grid),
            STEP_KEY: str(plan.step),
            GRID_KEY: grids.to_json(plan.grid),
        },
    )


def grow_cube(plan: IngestPlan) -> None:
    """Lengthen the arrays of a cube to what the plan needs, and add the variables it lacks.

    Does nothing that a second call would do again; readers of the last commit see none of it.
    """
    group = open_group(plan.path, mode="r+")
    for coordinate in _coordinates(plan):
        if coordinate.name in group:
            _resize_coordinate(get_array(group, coordinate.name), coordinate)
        else:
            add_coordinate(group, coordinate)
    for variable in plan.variables:
        template = _array(plan, variable)
        if template.name not in group:
            add_array(group, template)
            continue
        array = get_array(group, template.name)
        if array.shape != template.shape:
            array.resize(template.shape)
        if any(array.attrs.get(key) != value for key, value in template.attributes.items()):
            array.update_attributes(dict(template.attributes))


def build_coverage(inputs: CubeInputs) -> dict[str, Any]:
    """Build the statement of which frames each variable has, as short as can be."""
    return {
        name: _coverage(variable.value_attrs["cadence"], variable.present_keys)
        for name, variable in inputs.variables.items()
    }


def _coverage(cadence: str, keys: list[str]) -> Any:
    if cadence == "step":
        return {"first": keys[0], "last": keys[-1]}
    return {"years": [int(key) for key in keys]} if cadence == "annual" else cadence


def _resize_coordinate(array: zarr.Array[Any], coordinate: Coordinate) -> None:
    """Rewrite a growing coordinate: one small file, of which old readers see the old part."""
    if array.shape != coordinate.values.shape:
        array.resize(coordinate.values.shape)
    array.update_attributes(dict(coordinate.attributes))
    write_block(array, (0,) * array.ndim, coordinate.values)


def _coordinates(plan: IngestPlan) -> Iterator[Coordinate]:
    yield from time_coordinates(plan.step, plan.times, chunk_length=_TIME_CHUNK)
    if plan.years:
        years = np.array(plan.years, dtype=np.int64)
        yield Coordinate(
            YEAR,
            (YEAR,),
            years,
            {"long_name": "calendar year", "units": "1"},
            chunk_length=_TIME_CHUNK,
        )


def _array(plan: IngestPlan, variable: PlannedVariable) -> ArrayTemplate:
    """Build the template of a variable; where a shard would be one chunk there is none."""
    leading = {"static": (), "annual": (YEAR,), "step": (TIME,)}[variable.cadence]
    lengths = {"static": (), "annual": (len(plan.years),), "step": (len(plan.times),)}
    chunk = plan.layout.chunk
    shard = plan.layout.shard
    skip = 1 - len(leading)
    return ArrayTemplate(
        name=variable.source.name,
        dims=(*leading, Y, X),
        shape=(*lengths[variable.cadence], plan.grid.height, plan.grid.width),
        chunk=chunk[skip:],
        shard=None if shard == chunk else shard[skip:],
        attributes=_attributes(variable),
    )


def _attributes(variable: PlannedVariable) -> dict[str, Any]:
    source = variable.source
    attributes: dict[str, Any] = {
        "units": source.units,
        "long_name": source.long_name or source.name,
        KIND_KEY: "classes" if source.is_classes else "continuous",
    }
    if source.standard_name:
        attributes["standard_name"] = source.standard_name
    methods = (source.cell_methods, _CELL_METHODS.get(variable.resampling, ""))
    if any(methods):
        attributes["cell_methods"] = " ".join(filter(None, methods))
    return attributes
