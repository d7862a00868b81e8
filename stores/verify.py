"""Scrubbing: what of a published issue, a bundle or a whole store is missing or altered."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import zarr

from stores.arrays import METADATA_FILE, open_group
from stores.bundle import BUNDLE, MODELS, check_bundle, check_current_pointers
from stores.catalog import build_catalogs, check_catalog, check_catalogs
from stores.chunks import (
    DECODE_ERRORS,
    ChunkFile,
    describe_chunk_file,
    describe_chunk_path,
    find_broken_chunks,
    list_chunk_files,
)
from stores.contents import check_issue_contents
from stores.cube import CUBE
from stores.errors import CorruptError
from stores.files import read_json
from stores.issue import CATALOG, FORECAST, ISSUES, ITEM, MANIFEST
from stores.manifest import check_location, compare_files, list_files, read_manifest
from stores.progress import ProgressCallback
from stores.published import check_issue_folders
from stores.reconcile import check_register
from stores.register import REGISTER
from stores.scrub import Scrub
from stores.verify_cube import verify_cube
from stores.weights import WEIGHTS

_ROOT = f"{FORECAST}/{METADATA_FILE}"
_STORE_ENTRIES = (CUBE, CATALOG, ISSUES, MODELS, REGISTER)


def verify(
    path: Path, *, sample: float = 1, on_progress: ProgressCallback | None = None
) -> list[str]:
    """List what is wrong with an issue, a bundle, a cube, a recipe's issues or a store.

    Reads every byte, or those of a random fraction of the files. A missing or altered chunk is
    named with the times and pixels it covers; [] means that all is sound.

    Args:
        path: what is verified.
        sample: fraction of the files that are read; that all are there is always checked.
        on_progress: called with the files done and in all.

    Raises:
        ValueError: ``sample`` is no fraction.
    """
    scrub = Scrub(sample)
    if on_progress is not None:
        inside = [path / CUBE, path / ISSUES]
        folders = [folder for folder in inside if folder.exists()] or [path]
        scrub = Scrub(sample, on_progress, sum(len(list_files(folder)) for folder in folders))
    return _verify(path, scrub)


def _verify(path: Path, scrub: Scrub) -> list[str]:
    location = path.absolute()
    if (path / MANIFEST).exists() or (path / FORECAST).exists():
        return verify_issue(path, scrub) + _check_entry(location)
    if (path / BUNDLE).exists() or (path / WEIGHTS).exists():
        return check_bundle(path)
    if location.parent.name == ISSUES and path.is_dir():
        return verify_recipe(location.parent.parent, location.name, scrub)
    if location.name == CUBE:
        return verify_cube(path, scrub)
    if any((path / entry).exists() for entry in _STORE_ENTRIES):
        return verify_store(path, scrub)
    return [f"{path} holds neither an issue nor a bundle nor a store; name a folder that does"]


def verify_store(root: Path, scrub: Scrub) -> list[str]:
    """Verify cube, catalogs, register, every issue and every bundle of a store."""
    try:
        check_issue_folders(root)
    except CorruptError as error:
        return [str(error)]
    findings = verify_cube(root / CUBE, scrub) if (root / CUBE).exists() else []
    findings = [f"{CUBE}: {finding}" for finding in findings]
    if any((root / entry).exists() for entry in (ISSUES, CATALOG, REGISTER)):
        findings += check_catalogs(root) + check_register(root)
    for folder in (*sorted((root / ISSUES).glob("[!.]*/")), root / MODELS):
        findings += _verify_all(root, folder, scrub)
    return findings + check_current_pointers(root / MODELS)


def verify_recipe(root: Path, recipe: str, scrub: Scrub) -> list[str]:
    """Verify the catalog and every issue of one recipe."""
    name = f"{ISSUES}/{recipe}/{CATALOG}"
    expected = build_catalogs(root).get(name)
    if expected is None:
        finding = f"{root / ISSUES / recipe} holds no sound issue; forecast again"
    else:
        finding = check_catalog(root, name, expected)
    findings = [*([finding] if finding else []), *check_register(root, f"{recipe}/")]
    return findings + _verify_all(root, root / ISSUES / recipe, scrub)


def _verify_all(root: Path, folder: Path, scrub: Scrub) -> list[str]:
    """Verify all that lies in a folder of issues or bundles."""
    check = check_bundle if folder.name == MODELS else partial(verify_issue, scrub=scrub)
    return [
        f"{path.relative_to(root)}: {finding}"
        for path in sorted(folder.glob("[!.]*/"))
        for finding in check(path)
    ]


def _check_entry(issue: Path) -> list[str]:
    """Compare one issue with the register, where it lies in a store."""
    recipe_folder = issue.parent
    if recipe_folder.parent.name != ISSUES:
        return []
    return check_register(recipe_folder.parent.parent, f"{recipe_folder.name}/{issue.name}")


def verify_issue(issue: Path, scrub: Scrub) -> list[str]:
    """Verify one published issue against its manifest and location, and its own contents."""
    try:
        manifest = read_manifest(issue)
    except CorruptError as error:
        return [str(error), *check_issue_contents(issue)]
    found = compare_files(issue, manifest, scrub)
    findings = [*_check_location(issue, manifest, found)]
    if found.get(_ROOT, "is missing") != "is missing":  # it may ask for any size and codec
        return findings + [f"{name} {what}" for name, what in found.items()]
    namer = _ChunkNamer(issue)
    findings += [namer.describe(name, what) for name, what in found.items()]
    return findings + (check_issue_contents(issue, damaged=found) if scrub.is_full else [])


def _check_location(
    issue: Path, manifest: Mapping[str, Any], found: Collection[str]
) -> Iterator[str]:
    """Compare folder and STAC item with what the manifest says it is of."""
    location = issue.absolute()
    if location.parent.parent.name != ISSUES:
        return  # a copy, wherever somebody likes to have it
    try:
        check_location(location, manifest)
    except CorruptError as error:
        yield str(error)
        return
    if ITEM in found:
        return
    try:
        item = read_json(issue / ITEM)
        stated = item["id"], item["properties"]["cubecast:issue"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        yield f"{ITEM} cannot be read ({error!r:.300})"
        return
    if stated != (f"{location.parent.name}-{location.name}", manifest["issue"]):
        yield f"{ITEM} is that of {stated[0]!r:.100}, not of this issue"


class _ChunkNamer:
    """Turns the path of a chunk file into the chunk, times and pixels it stands for."""

    def __init__(self, issue: Path) -> None:
        self.issue = issue
        self.group: zarr.Group | None = None
        self.files: dict[str, ChunkFile] = {}
        try:
            self.group = open_group(issue / FORECAST)
            self.files = list_chunk_files(self.group)
        except DECODE_ERRORS:
            self.group = None

    def describe(self, path: str, what: str) -> str:
        """Describe what happened to the file at ``path``."""
        return "; ".join([f"{path} {what}", *self._details(path, what)])

    def _details(self, path: str, what: str) -> Iterator[str]:
        file = self.files.get(path.removeprefix(f"{FORECAST}/"))
        if self.group is None or file is None:
            description = describe_chunk_path(path)
            if description != path:
                yield description
            return
        yield describe_chunk_file(self.group, file)
        if what != "is missing":
            yield from find_broken_chunks(self.group, file)
