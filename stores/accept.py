"""Accepting what is on disk as what was meant: for a register, and for an old cube."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from stores.arrays import METADATA_FILE, open_group, write_root_metadata
from stores.catalog import write_catalogs
from stores.cube import CUBE, Cube
from stores.cube_digests import (
    DIGESTS_KEY,
    digest_cube,
    digest_existing_frames,
    load_digests,
    write_digests,
)
from stores.errors import CorruptError
from stores.files import read_json
from stores.issue import ISSUES
from stores.lease import lease
from stores.manifest import check_location, digest_manifest, issue_key, read_manifest
from stores.publish import publish_lease
from stores.published import list_issue_folders
from stores.reconcile import reconcile_register
from stores.register import REGISTER, RegisterEntry, append_entries, is_missing, read_register
from stores.scrub import Scrub
from stores.verify import verify_issue


def accept(root: Path) -> list[str]:
    """Accept what is on disk, and return what was accepted; what is damaged never is.

    Issues that are missing count as removed, sound ones that nobody entered as published, and a
    cube without digests is read once and its digests are kept.

    Raises:
        ValueError: the folder is no store.
        CorruptError: the cube is damaged.
        LeaseHeldError: another run publishes or ingests.
    """
    if not ((root / ISSUES).is_dir() or (root / CUBE).is_dir()):
        raise ValueError(
            f"{root} holds neither {ISSUES} nor {CUBE}, so there is nothing to accept; name "
            "the root of a store"
        )
    messages: list[str] = []
    if (root / ISSUES).is_dir():
        with publish_lease(root):
            messages += _accept_issues(root)
            write_catalogs(root)
    if (root / CUBE).is_dir() and load_digests(root / CUBE) is None:
        with lease(root, "cube", wait_s=0):
            messages.append(_accept_cube(root / CUBE))
    return messages


def _accept_issues(root: Path) -> Iterator[str]:
    if read_register(root).findings:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        backup = root / f"{REGISTER}.damaged-{stamp}"
        (root / REGISTER).rename(backup)
        yield f"{REGISTER} was damaged; it is {backup.name} now, and a new one is begun"
    elif read_register(root).is_there:
        reconcile_register(root)
    register = read_register(root)
    missing = [entry for entry in register.latest.values() if is_missing(root, entry)]
    unregistered = list(_find_unregistered(root))
    append_entries(root, [*(entry.with_act("removed") for entry in missing), *unregistered])
    yield from (f"{ISSUES}/{entry.path}: is gone, and counts as removed" for entry in missing)
    yield from (
        f"{ISSUES}/{entry.path}: is sound, and counts as published" for entry in unregistered
    )


def _find_unregistered(root: Path) -> Iterator[RegisterEntry]:
    """Find sound issues that the register does not know as they are."""
    register = read_register(root)
    for path in list_issue_folders(root):
        try:
            manifest = read_manifest(path)
            check_location(path, manifest)
        except CorruptError:
            continue
        digest = digest_manifest(manifest)
        if digest in register.manifest_digests.get(f"{path.parent.name}/{path.name}", ()):
            continue
        if not verify_issue(path, Scrub()):
            yield RegisterEntry.of(
                "published", issue_key(manifest), manifest["revision"], digest
            )


def _accept_cube(path: Path) -> str:
    cube = Cube.open(path)
    root = read_json(path / METADATA_FILE)  # not composed anew: a growth may be under way
    digests = digest_cube(open_group(path), root, digest_existing_frames(cube))
    root["attributes"][DIGESTS_KEY] = write_digests(path, cube.version, digests)
    write_root_metadata(path, root)
    return f"{path.name}: all that it holds can be read, and its digests are kept from now on"
