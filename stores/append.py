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
    """Place along time or year; static frames have none."""
    file: str | None
    """File below the archive's root; a gap has none and becomes invalid."""
    digest: str
    outside: int = 0
    """Pixels of the file that valid_range refused, as the inventory counted them."""
    infinite: int = 0


@dataclass(frozen=True, slots=True)
class ExistingCube:
    """What stands in the cube before the ingest."""

    version: str | None
    inputs: CubeInputs
    times: Times
    years: tuple[int, ...]

    def frames(self, name: str) -> Mapping[str, str]:
        """Give the digests of a variable's frames by key."""
        one = self.inputs.variables.get(name)
        return {} if one is None else one.frames


def find_conflicts(
    due: list[PlannedFrame], inputs: CubeInputs, known: ExistingCube
) -> Iterator[str]:
    """Say what would change frames that the cube has, or put frames before or between them."""
    for name in dict.fromkeys(frame.variable for frame in due):
        own = [frame for frame in due if frame.variable == name]
        before = known.frames(name)
        changed = [f.key for f in own if before.get(f.key, f.digest) != f.digest]
        off = [f.key for f in own if f.index == -1]
        asked = inputs.variables[name]
        if before:
            yield from _find_changed_settings(name, asked, known.inputs.variables[name])
        if changed:
            yield (
                f"{name}: {len(changed)} frames of the cube were made of other files than now "
                f"lie in the archive ({abbreviate(changed)}), and forecasts may have used them; "
                "restore the files, or ingest into a new root with --root"
            )
        if off:
            yield (
                f"{name}: {len(off)} frames have no place in the cube, which begins later or "
                f"holds later years already ({abbreviate(off)}); set archive.start, or ingest "
                "into a new root with --root"
            )
        yield from _find_missing_dates(name, asked, inputs.step)


def _find_changed_settings(
    name: str, asked: VariableInputs, before: VariableInputs
) -> Iterator[str]:
    """Say what is read otherwise than before; units may be told where none were."""
    changes = [
        f"{key} was {before.numbers.get(key)!r} and is {value!r}"
        for key, value in asked.numbers.items()
        if before.numbers.get(key) != value
        and (key, before.numbers.get(key)) != ("units", DIMENSIONLESS)
    ]
    if changes:
        yield (
            f"{name}: the recipe reads it otherwise than the cube was made "
            f"({abbreviate(changes)}), so old and new frames would differ; "
            "restore that, or ingest into a new root: --root FOLDER"
        )


def _find_missing_dates(name: str, inputs: VariableInputs, step: str) -> Iterator[str]:
    """Find dates that lie between what the cube has and what the archive adds."""
    if inputs.numbers["cadence"] != "step" or not inputs.frames:
        return
    keys = sorted(inputs.frames)
    every = Step.parse(step)
    dates = every.range(parse_time(keys[0]), parse_time(keys[-1]))
    expected = [str(date) for date in dates.astype(f"datetime64[{every.numpy_unit}]")]
    holes = [key for key in expected if key not in inputs.frames]
    if holes:
        yield (
            f"{name}: {len(holes)} dates are neither in the cube nor in the archive "
            f"({abbreviate(holes)}), so the series would have a hole; add their files"
        )
