"""Scrubbing: what of a published issue, a bundle or a whole store is missing or altered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import zarr

from stores.arrays import open_group
from stores.bundle import BUNDLE, MODELS, check_bundle
from stores.catalog import build_catalogs, check_catalog, check_catalogs
from stores.chunks import (
    ChunkFile,
    describe_chunk_file,
    find_broken_chunks,
    guess_chunk,
    list_chunk_files,
)
from stores.contents import check_contents
from stores.errors import CorruptError
from stores.files import sha256_of
from stores.issue import CATALOG, FORECAST, ISSUES, MANIFEST
from stores.manifest import list_files, read_manifest
from stores.published import check_layout


def verify(path: Path) -> list[str]:
    """List what is wrong with an issue, a bundle, a recipe's issues or a store; [] when sound.

    Reads every byte. A missing or altered chunk is named with the times and pixels it covers.
    """
    if (path / MANIFEST).exists() or (path / FORECAST).exists():
        return verify_issue(path)
    if (path / BUNDLE).exists() or (path / "model.safetensors").exists():
        return check_bundle(path)
    where = path.absolute()
    if where.parent.name == ISSUES and path.is_dir():
        return verify_recipe(where.parent.parent, where.name)
    if (path / CATALOG).exists() or (path / ISSUES).exists():
        return verify_store(path)
    return [f"{path} holds neither an issue nor a bundle nor a store; name a folder that does"]


def verify_store(root: Path) -> list[str]:
    """Verify the catalogs, every issue and every bundle of a store."""
    try:
        check_layout(root)
    except CorruptError as error:
        return [str(error)]
    findings = check_catalogs(root)
    for folder in (*sorted((root / ISSUES).glob("[!.]*/")), root / MODELS):
        findings += _verify_all(root, folder)
    return findings


def verify_recipe(root: Path, recipe: str) -> list[str]:
    """Verify the catalog and every issue of one recipe."""
    name = f"{ISSUES}/{recipe}/{CATALOG}"
    wanted = build_catalogs(root).get(name)
    if wanted is None:
        finding = f"{root / ISSUES / recipe} holds no sound issue; forecast again"
    else:
        finding = check_catalog(root, name, wanted)
    return [*([finding] if finding else []), *_verify_all(root, root / ISSUES / recipe)]


def _verify_all(root: Path, folder: Path) -> list[str]:
    """Verify all that lies in a folder of issues or bundles."""
    return [
        f"{path.relative_to(root)}: {finding}"
        for path in sorted(folder.glob("[!.]*/"))
        for finding in verify(path)
    ]


def verify_issue(issue: Path) -> list[str]:
    """Verify one published issue against its manifest, and what it holds against itself."""
    try:
        manifest = read_manifest(issue)
    except CorruptError as error:
        return [str(error), *check_contents(issue)]
    found = _compare_files(issue, manifest)
    reader = _Namer(issue)
    findings = [reader.name(name, what) for name, what in found.items()]
    return findings + check_contents(issue, damaged=found)


def _compare_files(issue: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Say of each file that is not as it was published what happened to it."""
    expected = manifest["files"]
    on_disk = set(list_files(issue)) - {MANIFEST}
    listed = {f"{array}/{key}" for array, keys in manifest["chunks"].items() for key in keys}
    found = dict.fromkeys(sorted((set(expected) | listed) - on_disk), "is missing")
    for name in sorted(set(expected) & on_disk):
        what = _compare_file(issue / name, expected[name])
        if what:
            found[name] = what
    return found | dict.fromkeys(sorted(on_disk - set(expected)), "was never published")


def _compare_file(path: Path, expected: Mapping[str, Any]) -> str:
    size = path.stat().st_size
    if size != expected["size"]:
        return f"has {size} bytes instead of {expected['size']}"
    return "" if sha256_of(path) == expected["sha256"] else "was altered"


class _Namer:
    """Turns the path of a chunk file into the chunk, times and pixels it stands for."""

    def __init__(self, issue: Path) -> None:
        self.issue = issue
        self.group: zarr.Group | None = None
        self.files: dict[str, ChunkFile] = {}
        try:
            self.group = open_group(issue / FORECAST)
            self.files = list_chunk_files(self.group)
        except (CorruptError, ValueError, KeyError):
            self.group = None

    def name(self, path: str, what: str) -> str:
        """Say what happened to the file at ``path``."""
        return "; ".join([f"{path} {what}", *self._details(path, what)])

    def _details(self, path: str, what: str) -> Iterator[str]:
        file = self.files.get(path.removeprefix(f"{FORECAST}/"))
        if self.group is None or file is None:
            guess = guess_chunk(path)
            if guess != path:
                yield guess
            return
        yield describe_chunk_file(self.group, file)
        if what != "is missing":
            yield from find_broken_chunks(self.group, file)
