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
from stores.times import YEARLY, Step, Times

_SAMPLE = "samples/chirps_java"
_MAX_LEADS = 12
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
    series = [group for group in found if group.step is not None]
    if target is not None:
        series = [group for group in series if group.suggested_name == target]
    if not series:
        names = ", ".join(dict.fromkeys(group.suggested_name for group in found))
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
    """List the values of the template's variables."""
    assert target.step is not None
    header = _header(root, target)
    usable = [target, *(group for group in found if _is_covariate(group, target))]
    by_name = _unique_names(usable)
    dates = target.step.range(target.times[0], target.times[-1])
    split = _pick_split(target.step, dates)
    return {
        "name": name,
        "title": name.replace("-", " ").replace("_", " ").capitalize(),
        "root": f"runs/{name}",
        "archive": json.dumps(_locate(root.resolve(), folder.resolve()), ensure_ascii=False),
        "step": str(target.step),
        "gaps": _describe_gaps(target, len(dates)),
        "variables": [
            _variable(root, series, variable) for variable, series in by_name.items()
        ],
        "like": target.names[0],
        "target": next(iter(by_name)),
        "covariates": [
            _covariate(variable, series, target)
            for variable, series in list(by_name.items())[1:]
        ],
        "has_season": 1 < frames_per_period(target.step) <= len(dates),
        "n_frames": len(dates),
        **split,
        **_pick_patch_sizes(min(header.grid.shape), is_spatial=split["by_place"]),
    }


def _locate(root: Path, folder: Path) -> str:
    """Write where the archive is: relative below the recipe, absolute elsewhere."""
    return str(root.relative_to(folder) if root.is_relative_to(folder) else root)


def _is_covariate(series: FilePatternGroup, target: FilePatternGroup) -> bool:
    """Check whether a series can be read beside the target: a map, or one a year or a step."""
    same_step = series.step == target.step
    return series is not target and (
        not series.times or same_step or series.step == Step(1, "year")
    )


def _unique_names(series: Sequence[FilePatternGroup]) -> dict[str, FilePatternGroup]:
    """Return every series by a name of its own."""
    by_name: dict[str, FilePatternGroup] = {}
    for group in series:
        name = group.suggested_name
        n = 1
        while name in by_name:
            n += 1
            name = f"{group.suggested_name}_{n}"
        by_name[name] = group
    return by_name


def _header(root: Path, series: FilePatternGroup) -> Header:
    return read_header(
        root / series.names[0], SourceVariable(series.suggested_name, series.files)
    )


def _variable(root: Path, series: FilePatternGroup, name: str) -> VariableStub:
    header = _header(root, series)
    return VariableStub(
        name=name,
        files=series.files,
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


def _covariate(name: str, series: FilePatternGroup, target: FilePatternGroup) -> str:
    """Write a covariate; its delay is how far it ends before the target."""
    if not series.times:
        return f"{{kind: static, variable: {name}}}"
    is_annual = series.step == Step(1, "year") and "%m" not in series.files
    every = YEARLY if is_annual else target.step or YEARLY
    delay = max(0, every.units_between(series.times[-1], target.times[-1]) // every.count)
    kind = "annual" if is_annual else "step"
    return f"{{kind: {kind}, variable: {name}, future: persist, delay: {delay}}}"


def _describe_gaps(target: FilePatternGroup, n_due: int) -> str:
    n_missing = n_due - len(target.times)
    return f"{n_missing} of {n_due} steps have no file" if n_missing else ""


def _pick_patch_sizes(side: int, *, is_spatial: bool) -> dict[str, int]:
    """Choose the side of patches, and of blocks in which a patch fits [px]."""
    block = max(6, side // 4)
    correlation = max(1, side // 40)
    available_px = block - 2 * correlation if is_spatial else side
    patch = max(4, min(_PATCH_PX, available_px))
    return {"block_px": block, "correlation_px": correlation, "patch_px": patch}


def _pick_split(step: Step, dates: Times) -> dict[str, Any]:
    """Choose history, leads and parts that fit the number of frames."""
    n = len(dates)
    leads = max(1, min(_MAX_LEADS, n // 10))
    history = max(2, min(_MAX_LEADS, n // 8))
    sample_frames = history + leads
    n_part = max(sample_frames, n // 6)
    labels = [step.format(time) for time in dates]
    whole = (labels[0], labels[-1])
    if n - 2 * n_part - 2 < sample_frames:  # then parts differ in space
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
        "train": (labels[0], labels[stops[0] - 1]),
        "validation": (labels[stops[0] + 1], labels[stops[1] - 1]),
        "test": (labels[stops[1] + 1], labels[-1]),
        "by_place": False,
        "history": history,
        "leads": leads,
        "training_leads": min(3, leads),
    }
