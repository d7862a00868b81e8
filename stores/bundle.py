"""Bundles: a trained model with everything needed to use it, named by its contents."""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from stores import grid as grids
from stores.array_types import AnyArray
from stores.crash import crash_point
from stores.digests import digest_files, digest_json
from stores.disk_space import reraise_disk_full
from stores.errors import CorruptError, GridError
from stores.files import fsync_path, read_json, write_json, write_text
from stores.formatting import abbreviate
from stores.issue import STAGING
from stores.manifest import list_files
from stores.names import check_id, resolve_under
from stores.weights import WEIGHTS, WeightArrays, describe_damage, read_weights, write_weights

MODELS = "models"
BUNDLE = "bundle.json"
_KEYS = {"name": str, "description": dict, "files": dict}
_MAX_NAME_LENGTH = 200  # characters of a folder's name, which file systems allow


@dataclass(frozen=True, slots=True)
class Bundle:
    """A published model."""

    path: Path
    name: str
    digest: str
    description: dict[str, Any]

    def load_weights(self) -> dict[str, AnyArray]:
        """Load the weights by name, each array in its own shape (...)."""
        return read_weights(self.path)


@contextmanager
def stage_bundle(models: Path, name: str) -> Iterator[Path]:
    """Yield a folder out of sight for the files of a bundle; it goes when the body ends."""
    staging = models / STAGING
    with reraise_disk_full(staging):
        staging.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{check_id(name, 'bundle')}-", dir=staging))
    folder.chmod(0o755)  # mkdtemp's 0700 would hide the bundle from other readers
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # shows 'clean' that it is in use
        with reraise_disk_full(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(fd)


def publish_bundle(
    folder: Path,
    models: Path,
    name: str,
    weights: WeightArrays,
    description: Mapping[str, Any],
    *,
    set_current: bool = True,
) -> Bundle:
    """Make a staged bundle visible in one rename, and current in a second one.

    Its digest is that of all its files and its description, so the same training gives the same
    bundle: one that is there already is kept and returned.

    Args:
        folder: what ``stage_bundle`` yielded.
        models: where bundles are published.
        name: what the bundle is called; its folder also bears its digest.
        weights: arrays by name.
        description: plain values that say what the model is.
        set_current: make it the one that its name means; else the one that is stays so.
    """
    write_weights(folder, weights)
    files = digest_files(folder, [file for file in list_files(folder) if file != BUNDLE])
    content = {"name": check_id(name, "bundle"), "files": files}
    content |= {"description": _to_plain_json(description)}
    digest = digest_json(content)
    write_json(folder / BUNDLE, content | {"digest": digest})
    (folder / WEIGHTS).chmod(0o644)
    for path in (folder, *folder.rglob("*")):
        fsync_path(path)
    target = models / f"{name}-{digest[:12]}"
    crash_point("bundle.rename")
    if not target.exists():
        _move(folder, target)
    bundle = open_bundle(target)
    crash_point("bundle.pointer")
    if set_current:
        make_current(bundle)
    return bundle


def make_current(bundle: Bundle) -> None:
    """Let a published bundle be the one that its name means, in one rename."""
    write_text(_pointer(bundle.path.parent, bundle.name), f"{bundle.path.name}\n")


def open_bundle(path: Path) -> Bundle:
    """Open a bundle and prove that all its files are what they were.

    Raises:
        ValueError: there is none of that name; names those there are.
        CorruptError: a file is missing or was altered; names it.
    """
    if not path.exists():
        raise ValueError(_describe_unknown_bundle(path.parent, path.name))
    findings = check_bundle(path)
    if findings:
        raise CorruptError(describe_damage(path, "; ".join(findings)))
    return read_bundle(path)


def bundle_folder(models: Path, name: str) -> Path:
    """Return the folder of a bundle, which lies right below ``models``.

    Raises:
        ValueError: the name is that of no folder there.
    """
    if "\0" in name or len(name) > _MAX_NAME_LENGTH:
        raise ValueError(_describe_unknown_bundle(models, f"{name[:_MAX_NAME_LENGTH]}..."))
    path = resolve_under(models, name)
    if path.parent != models.resolve():
        raise ValueError(_describe_unknown_bundle(models, name))
    return path


def read_bundle(path: Path) -> Bundle:
    """Read a bundle that ``open_bundle`` has proven already, as every worker does."""
    content = read_json(path / BUNDLE)
    return Bundle(path, content["name"], content["digest"], content["description"])


def check_bundle(path: Path) -> list[str]:
    """List what is missing from a bundle or altered in it; [] when it is sound."""
    try:
        content = dict(read_json(path / BUNDLE))
        digest = content.pop("digest")
        files = dict(content["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return [f"{BUNDLE} cannot be read ({error!r:.300})"]
    if digest != digest_json(content):
        return [f"{BUNDLE} was altered"]
    missing_keys = [
        key for key, kind in _KEYS.items() if not isinstance(content.get(key), kind)
    ]
    if missing_keys:
        return [f"{BUNDLE} has no {' and no '.join(missing_keys)} of the right kind"]
    expected_name = f"{content['name']}-{digest[:12]}"
    if path.absolute().parent.name == MODELS and path.name != expected_name:
        return [
            f"holds the model that was published as {expected_name}; move the folder back to "
            "its name"
        ]
    on_disk = set(list_files(path)) - {BUNDLE}
    digests = digest_files(path, sorted(set(files) & on_disk))
    return [
        *(f"{name} is missing" for name in sorted(set(files) - on_disk)),
        *(f"{name} was altered" for name in digests if digests[name] != files[name]),
        *(f"{name} was never published" for name in sorted(on_disk - set(files))),
    ]


def check_current_pointers(models: Path) -> list[str]:
    """List names whose current bundle is not there."""
    pointers = {path: _read_pointer(path) for path in sorted(models.glob("*.current"))}
    return [
        _describe_dangling_pointer(path, name)
        for path, name in pointers.items()
        if not name or not (models / name / BUNDLE).exists()
    ]


def open_current_bundle(models: Path, name: str) -> Bundle:
    """Open the bundle that was published last under a name.

    Raises:
        ValueError: there is none yet.
        CorruptError: it is damaged or gone.
    """
    pointer = _pointer(models, name)
    if not pointer.exists():
        raise ValueError(
            f"{models} holds no bundle {name!r}, so there is no model to forecast with; "
            "train first: cubecast train RECIPE"
        )
    folder = _read_pointer(pointer)
    if not folder or not bundle_folder(models, folder).exists():
        raise CorruptError(_describe_dangling_pointer(pointer, folder))
    return open_bundle(models / folder)


def has_bundle(models: Path, name: str) -> bool:
    """Return whether a bundle was ever published under a name."""
    return _pointer(models, name).exists()


def check_bundle_fits(bundle_grid: GeoBox, cube_grid: GeoBox) -> None:
    """Refuse to forecast on another grid than the model was trained on.

    Raises:
        GridError: the grids differ; the message shows both.
    """
    if bundle_grid != cube_grid:
        trained, found = (
            f"{grids.grid_fingerprint(grid)} ({grids.describe_grid(grid)})"
            for grid in (bundle_grid, cube_grid)
        )
        raise GridError(
            f"bundle was trained on grid {trained} but cube is {found}, so its pixels would be "
            "misplaced; ingest the archive onto the bundle's grid or train again"
        )


def list_current_folders(models: Path) -> set[str]:
    """List the folders of all bundles that are current under some name."""
    return {_read_pointer(path) for path in models.glob("*.current")}


def list_abandoned_stages(models: Path) -> Iterator[Path]:
    """List staged bundles whose makers have died; each is locked while it is looked at."""
    for folder in sorted((models / STAGING).glob("*/")):
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            yield folder
        finally:
            os.close(fd)


def _to_plain_json(description: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a description into what JSON gives back, so that its digest is stable."""
    try:
        return dict(json.loads(json.dumps(dict(description), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the bundle's description is not plain JSON ({error}), so other programs could "
            "not read it; use text, numbers, lists and dicts, and None for NaN"
        ) from None


def _move(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():  # else another run published the same bundle first
            raise
    fsync_path(target.parent)


def _pointer(models: Path, name: str) -> Path:
    return models / f"{check_id(name, 'bundle')}.current"


def _read_pointer(pointer: Path) -> str:
    """Read the name of a folder; nothing where none is written."""
    name = pointer.read_bytes().decode("utf-8", errors="replace").strip()
    return name if name.isprintable() and len(name) <= _MAX_NAME_LENGTH else ""


def _describe_dangling_pointer(pointer: Path, name: str) -> str:
    return (
        f"{pointer.parent.name}/{pointer.name} names {name or 'nothing'}, which is no bundle "
        "that is there, so there is no model to forecast with; restore it from a copy, or "
        "train again"
    )


def _describe_unknown_bundle(models: Path, name: str) -> str:
    known = sorted(folder.parent.name for folder in models.glob(f"[!.]*/{BUNDLE}"))
    close_matches = difflib.get_close_matches(name, known, n=1)
    advice = f"known are {abbreviate(known)}" if known else "train first: cubecast train RECIPE"
    if close_matches:
        advice = f"did you mean {close_matches[0]!r}? {advice[0].upper()}{advice[1:]}"
    return f"no bundle {name!r} in {models}, so there is no model to use; {advice}"
