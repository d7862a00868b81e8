"""The Zarr store of one issue: a template, filled window by window, then committed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from odc.geo.geobox import GeoBox

from stores import grid as grids
from stores.acdd import CONVENTIONS, extent_attributes, time_coverage_attributes
from stores.array_types import BoolArray, Float32Array
from stores.arrays import (
    ArrayTemplate,
    commit_group,
    create_group,
    get_array,
    open_group,
    write_block,
)
from stores.axes import forecast_coordinates
from stores.crash import crash_point
from stores.cube import check_files_exist
from stores.forecast_template import ForecastTemplate
from stores.issue import FORECAST, IssueKey, read_key
from stores.names import DOMAIN, INIT_TIME, SPATIAL_REF, TIME, X, Y
from stores.retry import read_with_retry, reraise_as_corrupt
from stores.times import Step, Time, Times
from stores.windows import Window

WindowValues = tuple[Window, Float32Array]
"""A window of the grid and its values (y, x)."""

BUNDLE_ATTRIBUTES = {
    "folder": "bundles",
    "digest": "bundle_digests",
    "family": "bundle_families",
    "parameters": "bundle_parameters",
    "best_epoch": "bundle_best_epochs",
    "epochs": "bundle_epochs",
}
"""What is stated of a model, and the attribute that lists it for all models of a forecast."""
MEMBERS = "members"

_TEMPLATE = "template"
_WINDOW_PX = 2048  # side of what is read at a time: 16 MiB


def create_forecast(stage: Path, template: ForecastTemplate) -> Path:
    """Write the empty ``forecast.zarr`` of a stage, or keep the one of the same template."""
    path = stage / FORECAST
    key = read_key(stage)
    _check_key(template, key)
    if has_forecast(stage, template):
        return path
    new_path = stage / f".{FORECAST}.tmp"
    for old_path in (new_path, path):
        shutil.rmtree(old_path, ignore_errors=True)
    create_group(
        new_path,
        grid=template.grid,
        arrays=_arrays(template),
        coordinates=forecast_coordinates(
            template.step, template.init, template.times, template.lead_numbers
        ),
        attributes=_attributes(template, key),
    )
    crash_point("forecast.template")
    return new_path.rename(path)


def has_forecast(stage: Path, template: ForecastTemplate) -> bool:
    """Return whether a stage holds a forecast that was begun from the same template."""
    path = stage / FORECAST
    return path.exists() and bool(
        zarr.open_group(path, mode="r").attrs.get(_TEMPLATE) == template.digest
    )


def write_domain(stage: Path, window: Window, in_domain: BoolArray) -> None:
    """Write where in ``window`` a forecast is made (y, x): values there are finite, else NaN.

    Raises:
        ValueError: the window shares a shard with another.
    """
    _check_shape(DOMAIN, window, in_domain.shape, window.shape)
    array = get_array(zarr.open_group(stage / FORECAST, mode="r+"), DOMAIN)
    write_block(array, (window.y0, window.x0), in_domain.astype(np.uint8))


def write_forecast(
    stage: Path, variable: str, window: Window, values: Float32Array, *, lead: int = 1
) -> None:
    """Write frames (leads, y, x) of one window; ``lead`` counts frames from 1.

    Raises:
        ValueError: the window shares a shard with another, or the values do not fit it.
    """
    array = get_array(zarr.open_group(stage / FORECAST, mode="r+"), variable)
    _check_shape(variable, window, values.shape, (len(values), *window.shape))
    write_block(array, (lead - 1, window.y0, window.x0), values.astype(np.float32, copy=False))


def commit_forecast(stage: Path, attributes: Mapping[str, Any] | None = None) -> None:
    """Commit the store, so that ``xr.open_zarr`` opens it, with further attributes."""
    crash_point("forecast.commit")
    commit_group(stage / FORECAST, attributes)


@dataclass(frozen=True, slots=True)
class Forecast:
    """A committed forecast, opened for reading."""

    path: Path
    group: zarr.Group
    grid: GeoBox
    step: Step
    init: Time
    times: Times
    variables: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns [px]."""
        return self.grid.shape[0], self.grid.shape[1]

    @property
    def bundles(self) -> list[dict[str, Any]]:
        """List what is stated of each model, in the order in which they take members."""
        stated = self.group.attrs
        columns = {
            key: stated[name] for key, name in BUNDLE_ATTRIBUTES.items() if name in stated
        }
        rows = zip(*columns.values(), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    @property
    def members(self) -> int:
        """Forecasts that were joined; 1 is a forecast alone."""
        return int(str(self.group.attrs.get(MEMBERS, 1)))

    def read(self, variable: str, lead: int, window: Window | None = None) -> Float32Array:
        """Read one frame (y, x), NaN outside the domain."""
        frame = self._read(variable, (lead - 1,), window)
        return np.asarray(frame, dtype=np.float32)

    def read_domain(self, window: Window | None = None) -> BoolArray:
        """Read where a forecast is made (y, x)."""
        return np.asarray(self._read(DOMAIN, (), window), dtype=np.bool_)

    def _read(self, name: str, lead: tuple[int, ...], window: Window | None) -> Any:
        """Read part of an array.

        Raises:
            CorruptError: its bytes were altered.
            OSError: the system cannot read them, also when asked again.
        """
        array = get_array(self.group, name)
        pixels = window or Window.from_shape(self.shape)
        what = f"{name} of {self.path} at {pixels}"
        hint = "forecast it again"
        index: tuple[int | slice, ...] = (*lead, *pixels.slices)

        def read() -> Any:
            check_files_exist(self.path, array, index, hint)
            return array[index]

        return read_with_retry(read, what=what, hint=hint)

    def chunk_windows(self, name: str) -> Iterator[Window]:
        """Cut the grid into windows of whole chunks of an array, each decoded once."""
        sides = get_array(self.group, name).chunks[-2:]
        rows, cols = (side * max(1, _WINDOW_PX // side) for side in sides)
        return Window.from_shape(self.shape).blocks(rows, cols)

    def read_blocks(self, variable: str, lead: int) -> Iterator[WindowValues]:
        """Read one frame window by window."""
        for window in self.chunk_windows(variable):
            yield window, self.read(variable, lead, window)

    def attributes(self, variable: str) -> dict[str, Any]:
        """Return the attributes of a variable."""
        return dict(get_array(self.group, variable).attrs)

    def label(self, lead: int) -> str:
        """Return the label of a lead's valid time, as in names of files."""
        return self.step.label(self.times[lead - 1])

    def format_time(self, lead: int) -> str:
        """Write the valid time of a lead for people."""
        return self.step.format(self.times[lead - 1])


def open_forecast(path: Path) -> Forecast:
    """Open a committed forecast.

    Raises:
        CorruptError: there is none at ``path``.
    """
    with reraise_as_corrupt(path, "restore it from a copy, or forecast it again"):
        return _open(path, open_group(path))


def _open(path: Path, group: zarr.Group) -> Forecast:
    step = Step.parse(str(group.attrs["step"]))
    names = [name for name, array in group.arrays() if array.ndim == 3]
    shape = get_array(group, DOMAIN).shape
    return Forecast(
        path=path,
        group=group,
        grid=grids.from_cf(dict(get_array(group, SPATIAL_REF).attrs), (shape[0], shape[1])),
        step=step,
        init=step.decode(np.atleast_1d(np.asarray(get_array(group, INIT_TIME)[...])))[0],
        times=step.decode(np.asarray(get_array(group, TIME)[...])),
        variables=tuple(sorted(names)),
    )


def _check_key(template: ForecastTemplate, key: IssueKey) -> None:
    label = template.step.label(template.init)
    if (label, template.leads) != (key.init, key.leads):
        raise ValueError(
            f"the forecast starts {label} with {template.leads} leads, but its issue is named "
            f"for {key.init} with {key.leads}, so it would be published under a wrong name; "
            "build both from the same request"
        )


def _check_shape(
    name: str, window: Window, got: Sequence[int], expected: Sequence[int]
) -> None:
    if tuple(got) != tuple(expected):
        raise ValueError(
            f"values of {name!r} have shape {tuple(got)}, but {window} holds {tuple(expected)}"
            ", so they would land on other pixels; give one value per pixel of the window"
        )


def _arrays(template: ForecastTemplate) -> list[ArrayTemplate]:
    layout = template.resolved_layout
    shape = template.shape
    frames = [
        ArrayTemplate(
            variable.name,
            (TIME, Y, X),
            (template.leads, *shape),
            layout.chunk,
            layout.shard,
            attributes=variable.cf_attributes(),
        )
        for variable in template.variables
    ]
    # No flag_values: CF wants them of the array's type, and a number in JSON has none.
    domain_attributes = {
        "long_name": "where a forecast is made: 1 inside, 0 outside",
        "units": "1",
        "coverage_content_type": "auxiliaryInformation",
    }
    domain = ArrayTemplate(
        DOMAIN, (Y, X), shape, layout.chunk[1:], layout.shard[1:], "uint8", domain_attributes
    )
    return [*frames, domain]


def _attributes(template: ForecastTemplate, key: IssueKey) -> dict[str, Any]:
    software = f"cubecast {version('cubecast')}"
    provenance = f"with bundle {' and '.join(key.bundles)} on cube {key.cube}"
    return {
        **template.attributes,
        **extent_attributes(template.grid),
        **time_coverage_attributes(template.step, template.times),
        "Conventions": CONVENTIONS,
        "id": key.stage_name,
        "title": template.title
        or f"forecast of {', '.join(v.name for v in template.variables)}",
        "source": software,
        "history": f"{software}: forecast from {key.init} {provenance}",
        "recipe": key.recipe,
        BUNDLE_ATTRIBUTES["digest"]: list(key.bundles),
        "cube_version": key.cube,
        "issue": key.digest,
        "step": str(template.step),
        _TEMPLATE: template.digest,
    }
