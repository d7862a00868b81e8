"""What a cube was made of: a digest of the file behind every frame, and the version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stores.archive import Cadence, SourceVariable
from stores.digests import digest_json
from stores.errors import CorruptError
from stores.files import read_json, write_json
from stores.times import Times, to_times

DIMENSIONLESS = "1"
"""Units of what has none, or of what nobody has stated yet."""
GAP = "gap"
"""Stands for the digest of a frame whose file is missing, unreadable or empty."""


@dataclass(frozen=True, slots=True)
class VariableInputs:
    """How a variable is read, and from what."""

    value_attrs: Mapping[str, Any]
    """What can change a value: cadence, units, band, nodata, range, resampling."""
    descriptive_attrs: Mapping[str, Any]
    """What only legends show."""
    frames: Mapping[str, str] = field(default_factory=dict)
    """Digest by key: the date in ISO, or 'static'."""

    @property
    def present_keys(self) -> list[str]:
        """List the frames that are there, in order; gaps at the end are still to come."""
        last = max((key for key, digest in self.frames.items() if digest != GAP), default="")
        return sorted(key for key in self.frames if key <= last)

    @property
    def digest(self) -> str:
        """Hash of how the variable is read and of the bytes of all its files."""
        return digest_json({"numbers": dict(self.value_attrs), "frames": dict(self.frames)})

    def to_json(self) -> dict[str, Any]:
        """Write as plain JSON, under the keys that records have had from the first."""
        return {
            "numbers": dict(self.value_attrs),
            "words": dict(self.descriptive_attrs),
            "frames": dict(sorted(self.frames.items())),
        }

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> VariableInputs:
        """Read what ``to_json`` wrote."""
        return cls(written["numbers"], written["words"], written["frames"])


@dataclass(frozen=True, slots=True)
class CubeInputs:
    """Everything of which the numbers of a cube are made."""

    grid: str
    """Fingerprint."""
    step: str
    variables: Mapping[str, VariableInputs]

    @property
    def version(self) -> str:
        """Hash of the content in 12 hexadecimal digits, however it was put together."""
        return digest_json(self.to_json())[:12]

    def to_json(self) -> dict[str, Any]:
        """Write as plain JSON."""
        variables = {name: inputs.to_json() for name, inputs in self.variables.items()}
        return {"grid": self.grid, "step": self.step, "variables": variables}


def describe_variable(variable: SourceVariable, cadence: Cadence) -> VariableInputs:
    """Describe a variable by what changes values and what changes legends alone.

    File names change neither.
    """
    limits = variable.valid_range
    value_attrs = {
        "cadence": cadence,
        "units": variable.units,
        "is_classes": variable.is_classes,
        "resampling": variable.resampling,
        "band": variable.band,
        "nodata": variable.nodata,
        "valid_range": None if limits is None else [float(limit) for limit in limits],
        **({"share_of": list(variable.share_of)} if variable.share_of else {}),
    }
    descriptive_attrs = {
        "long_name": variable.long_name,
        "standard_name": variable.standard_name,
    }
    if variable.cell_methods:
        descriptive_attrs |= {"cell_methods": variable.cell_methods}
    return VariableInputs(value_attrs, descriptive_attrs)


def variable_dates(inputs: CubeInputs) -> dict[str, Times]:
    """Return the dates of every variable: of its frames, or the first days of its years [s]."""
    return {
        name: to_times(() if v.value_attrs["cadence"] == "static" else v.present_keys)
        for name, v in inputs.variables.items()
    }


def inputs_folder(cube: Path) -> Path:
    """Return the folder beside a cube that records what it was made of."""
    return cube.with_name(f"{cube.stem}.inputs")


def write_inputs(cube: Path, inputs: CubeInputs) -> None:
    """Write down what the coming version is made of; its name is its content."""
    write_json(inputs_folder(cube) / f"{inputs.version}.json", inputs.to_json())


def load_inputs(cube: Path, version: str) -> CubeInputs:
    """Read what a version was made of.

    Raises:
        CorruptError: the record is gone or altered.
    """
    path = inputs_folder(cube) / f"{version}.json"
    try:
        written = read_json(path)
        variables = {
            name: VariableInputs.from_json(fields)
            for name, fields in written.pop("variables").items()
        }
        inputs = CubeInputs(variables=variables, **written)
        found = inputs.version
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptError(_describe_corrupt_record(cube, path, str(error))) from error
    if found != version:
        raise CorruptError(
            _describe_corrupt_record(cube, path, f"its content has version {found}")
        )
    return inputs


def remove_old_inputs(cube: Path, version: str) -> None:
    """Remove the records of versions that are gone."""
    for path in inputs_folder(cube).glob("*.json"):
        if path.name.partition(".")[0] != version:
            path.unlink(missing_ok=True)


def _describe_corrupt_record(cube: Path, path: Path, reason: str) -> str:
    return (
        f"{path} does not say what {cube.name} was made of ({reason}), so new files cannot be "
        "told from known ones; ingest into a new root"
    )
