"""Scrubbing: what of a published issue, a bundle or a whole store is missing or altered."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import zarr

from stores.arrays import METADATA_FILE, open_group
from stores.bundle import BUNDLE, MODELS, check_bundle, check_current_pointers
from stores.catalog import check_catalogs
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
from stores.files import read_json, why_unreadable
from stores.issue import CATALOG, FORECAST, ISSUES, ITEM, MANIFEST
from stores.manifest import check_location, compare_files, list_files, read_manifest
from stores.progress import ProgressCallback
from stores.published import check_issue_folders
from stores.reconcile import check_register
from stores.register import REGISTER
from stores.scrub import Part, Scrub
from stores.verify_cube import examine_cube
from stores.weights import WEIGHTS

_ROOT = f"{FORECAST}/{METADATA_FILE}"
_STORE_ENTRIES = (CUBE, CATALOG, ISSUES, MODELS, REGISTER)


def verify(
    path: Path, *, sample: float = 1, on_progress: ProgressCallback | None = None
) -> list[str]:
    """List what is wrong with an issue, a bundle, a cube, a recipe's issues or a store.

    As ``examine`` does, in one list; [] says that all is sound.
    """
    return [
        one
        for part in examine(path, sample=sample, on_progress=on_progress)
        for one in part.findings
    ]


def examine(
    path: Path, *, sample: float = 1, on_progress: ProgressCallback | None = None
) -> list[Part]:
    """List what is wrong, by what is damaged; [] says that all is sound.

    Reads every byte, or those of a random share of the files. A missing or altered chunk is
    named with the times and pixels it covers.

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
    return [part for part in _examine(path, scrub) if part.findings]


def _examine(path: Path, scrub: Scrub) -> Iterator[Part]:
    where = path.absolute()
    if (path / MANIFEST).exists() or (path / FORECAST).exists():
        yield from _examine_issue(path, scrub)
        yield Part("record", _check_entry(where))
    elif (path / BUNDLE).exists() or (path / WEIGHTS).exists():
        yield Part("bundle", check_bundle(path))
    elif where.parent.name == ISSUES and path.is_dir():
        yield from _examine_recipe(where.parent.parent, where.name, scrub)
    elif where.name == CUBE:
        yield from examine_cube(path, scrub)
    elif any((path / mark).exists() for mark in _STORE_ENTRIES):
        yield from _examine_store(path, scrub)
    else:
        said = (
            f"{path} holds neither an issue nor a bundle nor a store; name a folder that does"
        )
        yield Part("record", [said])


def _examine_store(root: Path, scrub: Scrub) -> Iterator[Part]:
    """Verify cube, catalogs, register, every issue and every bundle of a store."""
    try:
        check_issue_folders(root)
    except CorruptError as error:
        yield Part("record", [str(error)])
        return
    if (root / CUBE).exists():
        yield from (part.of(CUBE) for part in examine_cube(root / CUBE, scrub))
    if any((root / mark).exists() for mark in (ISSUES, CATALOG, REGISTER)):
        yield Part("record", check_catalogs(root) + check_register(root))
    for shelf in _folders(root / ISSUES):
        yield from _examine_shelf(root, shelf, scrub)
    for bundle in _folders(root / MODELS):
        yield Part("bundle", check_bundle(bundle)).of(f"{MODELS}/{bundle.name}")
    yield Part("record", check_current_pointers(root / MODELS))


def _examine_recipe(root: Path, recipe: str, scrub: Scrub) -> Iterator[Part]:
    """Verify the catalog and every issue of one recipe."""
    yield Part("record", check_catalogs(root, recipe) + check_register(root, f"{recipe}/"))
    yield from _examine_shelf(root, root / ISSUES / recipe, scrub)


def _examine_shelf(root: Path, shelf: Path, scrub: Scrub) -> Iterator[Part]:
    for issue in _folders(shelf):
        for part in _examine_issue(issue, scrub):
            yield part.of(str(issue.relative_to(root)))


def _folders(parent: Path) -> list[Path]:
    return sorted(parent.glob("[!.]*/"))


def _check_entry(issue: Path) -> list[str]:
    """Compare one issue with the register, where it lies in a store."""
    recipe_folder = issue.parent
    if recipe_folder.parent.name != ISSUES:
        return []
    return check_register(recipe_folder.parent.parent, f"{recipe_folder.name}/{issue.name}")


def verify_issue(issue: Path, scrub: Scrub) -> list[str]:
    """Verify one published issue against its manifest and place, and what it holds itself."""
    return [finding for part in _examine_issue(issue, scrub) for finding in part.findings]


def _examine_issue(issue: Path, scrub: Scrub) -> Iterator[Part]:
    try:
        manifest = read_manifest(issue)
    except CorruptError as error:
        yield Part("issue", [str(error), *check_issue_contents(issue)])
        return
    found = compare_files(issue, manifest, scrub)
    misplaced = [*_check_place(issue, manifest)]
    yield Part("record", misplaced)
    if not misplaced:
        yield Part("issue", [*_check_item(issue, manifest, found)])
    if found.get(_ROOT, "is missing") != "is missing":  # it may ask for any size and codec
        yield Part("issue", [f"{name} {what}" for name, what in found.items()])
        return
    reader = _ChunkNamer(issue)
    findings = [reader.describe(name, what) for name, what in found.items()]
    findings += check_issue_contents(issue, damaged=found) if scrub.is_full else []
    yield Part("issue", findings)


def _check_place(issue: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Compare the folder with what the manifest says it is of."""
    try:
        if _is_on_shelf(issue):
            check_location(issue, manifest)
    except CorruptError as error:
        yield str(error)


def _check_item(
    issue: Path, manifest: Mapping[str, Any], found: Collection[str]
) -> Iterator[str]:
    """Compare the STAC item with what the manifest says it is of."""
    location = issue.absolute()
    if not _is_on_shelf(issue) or ITEM in found:
        return
    try:
        item = read_json(issue / ITEM)
        stated = item["id"], item["properties"]["cubecast:issue"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        yield f"{ITEM} cannot be read ({why_unreadable(error)})"
        return
    if stated != (f"{location.parent.name}-{location.name}", manifest["issue"]):
        yield f"{ITEM} is that of {stated[0]!r:.100}, not of this issue"


def _is_on_shelf(issue: Path) -> bool:
    """Return whether an issue lies in a store; a copy may lie anywhere."""
    return issue.absolute().parent.parent.name == ISSUES


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
