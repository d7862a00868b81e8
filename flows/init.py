"""Write a first recipe for an archive, from the names of its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from flows.console import echo
from pipeline.recipes import RecipeError, load_recipe
from stores.archive import SourceVariable
from stores.errors import ArchiveError
from stores.file_patterns import FilePatternGroup, group_files
from stores.geotiff import Header, read_header
from stores.names import check_id
from stores.seasons import frames_per_period
from stores.times import YEARLY, Step

_SAMPLE = "samples/chirps_java"
_MOST_LEADS = 12
_PATCH_PX = 64


@dataclass(frozen=True, slots=True)
class VariableStub:
    """One variable as the recipe is to write it."""

    name: str
    files: str
    units: str
    units_note: str
    nodata: float | None
    """What files of this type mark missing pixels with; None where they say it themselves."""
    is_integer: bool


def init(name: str, archive: Path | None, folder: Path, target: str | None) -> Path:
    """Write ``folder/name.yaml`` for the archive, and say what to look at in it.

    Args:
        name: name of the recipe.
        archive: folder of the rasters; the sample of the product by default.
        folder: where the recipe is written; its paths work from there.
        target: variable that is forecast; that with the most dates by default.

    Raises:
        ArchiveError: the archive holds no series of rasters.
        FileExistsError: the recipe is there already.
        RecipeError: the recipe would not be valid.
    """
    path = folder / f"{check_id(name, 'name')}.yaml"
    if path.exists():
        raise FileExistsError(
            f"{path} exists already, so nothing is written over it; choose another name, or "
            "delete it"
        )
    root = archive if archive is not None else Path(str(files("samples"))).parent / _SAMPLE
    text = describe_archive(name, root, folder, target)
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as written:
        written.write(text)
    try:
        load_recipe(path)
    except RecipeError:
        path.unlink()
        raise
    echo(f"wrote {path}: read it once (units, nodata, split), then run: cubecast check {path}")
    return path


def describe_archive(name: str, root: Path, folder: Path, target: str | None) -> str:
    """Write the recipe of an archive as YAML."""
    if not root.is_dir():
        raise ArchiveError(
            f"{root} is no folder, so there are no rasters to describe; name the folder of the "
            "archive with --archive"
        )
    found = group_files(root)
    chosen = _choose_target(found, root, target)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = files("flows").joinpath("recipe.yaml.j2").read_text(encoding="utf-8")
    values = _values(name, root, folder, found, chosen)
    return environment.from_string(template).render(values)


def _choose_target(
    found: Sequence[FilePatternGroup], root: Path, target: str | None
) -> FilePatternGroup:
    series = [one for one in found if one.step is not None]
    if target is not None:
        series = [one for one in series if one.suggested_name == target]
    if not series:
        names = ", ".join(dict.fromkeys(one.suggested_name for one in found))
        wanted = "" if target is None else f" of {target!r}"
        raise ArchiveError(
            f"{root} holds no series{wanted} (found: {names[:300]}), so there is nothing to "
            "forecast; put a date into the names of the files, such as rain_2003.01.tif, or "
            "choose another --target"
        )
    return series[0]


def _values(
    name: str,
    root: Path,
    folder: Path,
    found: Sequence[FilePatternGroup],
    target: FilePatternGroup,
) -> dict[str, Any]:
    """Give what the template asks for."""
    assert target.step is not None
    header = _header(root, target)
    usable = [target, *(one for one in found if _is_covariate(one, target))]
    named = _unique_names(usable)
    due = target.step.range(target.times[0], target.times[-1])
    split = _pick_split(target.step, due)
    return {
        "name": name,
        "title": name.replace("-", " ").replace("_", " ").capitalize(),
        "root": f"runs/{name}",
        "archive": json.dumps(_locate(root.resolve(), folder.resolve()), ensure_ascii=False),
        "step": str(target.step),
        "gaps": _describe_gaps(target, len(due)),
        "variables": [_variable(root, one, called) for called, one in named.items()],
        "like": target.names[0],
        "target": next(iter(named)),
        "covariates": [
            _covariate(called, one, target) for called, one in list(named.items())[1:]
        ],
        "has_season": 1 < frames_per_period(target.step) <= len(due),
        "n_frames": len(due),
        **split,
        **_pick_patch_sizes(min(header.grid.shape), by_place=split["by_place"]),
    }


def _locate(root: Path, folder: Path) -> str:
    """Write where the archive is: relative below the recipe, absolute elsewhere."""
    return str(root.relative_to(folder) if root.is_relative_to(folder) else root)


def _is_covariate(one: FilePatternGroup, target: FilePatternGroup) -> bool:
    """Tell whether a series can be read beside the target: a map, or one a year or a step."""
    same_step = one.step == target.step
    return one is not target and (not one.times or same_step or one.step == Step(1, "year"))


def _unique_names(series: Sequence[FilePatternGroup]) -> dict[str, FilePatternGroup]:
    """Give every series a name of its own."""
    named: dict[str, FilePatternGroup] = {}
    for one in series:
        called, n = one.suggested_name, 1
        while called in named:
            n += 1
            called = f"{one.suggested_name}_{n}"
        named[called] = one
    return named


def _header(root: Path, one: FilePatternGroup) -> Header:
    return read_header(root / one.names[0], SourceVariable(one.suggested_name, one.files))


def _variable(root: Path, one: FilePatternGroup, name: str) -> VariableStub:
    header = _header(root, one)
    return VariableStub(
        name=name,
        files=one.files,
        units="1",
        units_note="write the units of the values, such as mm month-1 or K",
        nodata=None if header.nodata or header.has_mask else _guess_nodata(header.dtype),
        is_integer=not header.dtype.startswith("float"),
    )


def _guess_nodata(dtype: str) -> float:
    """Guess the marker of missing pixels; a type without negative numbers uses its largest."""
    if dtype.startswith("uint"):
        return int(np.iinfo(dtype).max)
    return -9999 if dtype != "int8" else -128


def _covariate(name: str, one: FilePatternGroup, target: FilePatternGroup) -> str:
    """Write a covariate; its delay is how far it ends before the target."""
    if not one.times:
        return f"{{kind: static, variable: {name}}}"
    is_annual = one.step == Step(1, "year") and "%m" not in one.files
    every = YEARLY if is_annual else target.step or YEARLY
    delay = max(0, every.units_between(one.times[-1], target.times[-1]) // every.count)
    kind = "annual" if is_annual else "step"
    return f"{{kind: {kind}, variable: {name}, future: persist, delay: {delay}}}"


def _describe_gaps(target: FilePatternGroup, n_due: int) -> str:
    n_missing = n_due - len(target.times)
    return f"{n_missing} of {n_due} steps have no file" if n_missing else ""


def _pick_patch_sizes(side: int, *, by_place: bool) -> dict[str, int]:
    """Choose the side of patches, and of blocks in which a patch has room [px]."""
    block, correlation = max(6, side // 4), max(1, side // 40)
    room = block - 2 * correlation if by_place else side
    patch = max(4, min(_PATCH_PX, room))
    return {"block_px": block, "correlation_px": correlation, "patch_px": patch}


def _pick_split(step: Step, due: Any) -> dict[str, Any]:
    """Choose history, leads and parts that fit the number of frames."""
    n = len(due)
    leads = max(1, min(_MOST_LEADS, n // 10))
    history = max(2, min(_MOST_LEADS, n // 8))
    need = history + leads
    n_part = max(need, n // 6)
    date = [step.format(time) for time in due]
    whole = (date[0], date[-1])
    if n - 2 * n_part - 2 < need:  # the parts are places then
        history = max(1, min(3, n - 1))
        parts = dict.fromkeys(("train", "validation", "test"), whole)
        leads = max(1, min(leads, n - history))
        return parts | {
            "by_place": True,
            "history": history,
            "leads": leads,
            "training_leads": leads,
        }
    stops = n - 2 * n_part - 2, n - n_part - 1
    return {
        "train": (date[0], date[stops[0] - 1]),
        "validation": (date[stops[0] + 1], date[stops[1] - 1]),
        "test": (date[stops[1] + 1], date[-1]),
        "by_place": False,
        "history": history,
        "leads": leads,
        "training_leads": min(3, leads),
    }
