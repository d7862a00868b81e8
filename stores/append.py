"""How a cube may grow: at its end and by new variables, never by changing what it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stores.cube_inputs import DIMENSIONLESS, CubeInputs, VariableInputs
from stores.formatting import abbreviate
from stores.times import Step, Times, parse_time


@dataclass(frozen=True, slots=True)
class PlannedFrame:
    """One frame of one variable that is to be written."""

    variable: str
    key: str
    """Its date in ISO, such as 2003-01, or 'static'."""
    index: int | None
    """Index along time or year; static frames have none."""
    file: str | None
    """File below the archive's root; a gap has none and becomes invalid."""
    digest: str
    outside: int = 0
    """Pixels of the file that valid_range refused, as the inventory counted them."""
    infinite: int = 0


@dataclass(frozen=True, slots=True)
class ExistingCube:
    """What the cube holds before the ingest."""

    version: str | None
    inputs: CubeInputs
    times: Times
    years: tuple[int, ...]

    def frames(self, name: str) -> Mapping[str, str]:
        """Return the digests of a variable's frames by key."""
        inputs = self.inputs.variables.get(name)
        return {} if inputs is None else inputs.frames


def find_conflicts(
    expected: list[PlannedFrame], inputs: CubeInputs, existing: ExistingCube
) -> Iterator[str]:
    """List what would change frames that the cube has, or put frames before or between them."""
    for name in dict.fromkeys(frame.variable for frame in expected):
        frames = [frame for frame in expected if frame.variable == name]
        existing_frames = existing.frames(name)
        changed = [f.key for f in frames if existing_frames.get(f.key, f.digest) != f.digest]
        off_axis = [f.key for f in frames if f.index == -1]
        requested = inputs.variables[name]
        if existing_frames:
            yield from _find_changed_settings(name, requested, existing.inputs.variables[name])
        if changed:
            yield (
                f"{name}: {len(changed)} frames of the cube were made of other files than now "
                f"lie in the archive ({abbreviate(changed)}), and forecasts may have used "
                "them; restore the files, or ingest into a new root with --root"
            )
        if off_axis:
            yield (
                f"{name}: {len(off_axis)} frames have no place in the cube, which begins later "
                f"or holds later years already ({abbreviate(off_axis)}); set archive.start, or "
                "ingest into a new root with --root"
            )
        yield from _find_missing_dates(name, requested, inputs.step)


def _find_changed_settings(
    name: str, requested: VariableInputs, existing: VariableInputs
) -> Iterator[str]:
    """Find what is read otherwise than before; units may be stated where none were."""
    changes = [
        f"{key} was {existing.value_attrs.get(key)!r} and is {value!r}"
        for key, value in requested.value_attrs.items()
        if existing.value_attrs.get(key) != value
        and (key, existing.value_attrs.get(key)) != ("units", DIMENSIONLESS)
    ]
    if changes:
        yield (
            f"{name}: the recipe reads it otherwise than the cube was made "
            f"({abbreviate(changes)}), so old and new frames would differ; "
            "restore that, or ingest into a new root: --root FOLDER"
        )


def _find_missing_dates(name: str, inputs: VariableInputs, step: str) -> Iterator[str]:
    """Find dates that lie between what the cube has and what the archive adds."""
    if inputs.value_attrs["cadence"] != "step" or not inputs.frames:
        return
    keys = sorted(inputs.frames)
    calendar_step = Step.parse(step)
    dates = calendar_step.range(parse_time(keys[0]), parse_time(keys[-1]))
    expected = [str(date) for date in dates.astype(f"datetime64[{calendar_step.numpy_unit}]")]
    missing = [key for key in expected if key not in inputs.frames]
    if missing:
        yield (
            f"{name}: {len(missing)} dates are neither in the cube nor in the archive "
            f"({abbreviate(missing)}), so the series would have a hole; add their files"
        )
