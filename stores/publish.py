"""Publishing: a verified stage becomes visible in one rename, and the catalog follows.

A crash before the rename leaves readers with what they had; one after it leaves a whole issue
that the next publication puts into the catalog, and the rest of a stage that ``clean`` removes.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stores.accounts import next_revision, settle
from stores.catalog import write_catalogs
from stores.contents import check_contents
from stores.counting import listed
from stores.crash import crash_point
from stores.digests import FileDigest, compare_file, digest_files
from stores.discard import discard
from stores.errors import CorruptError
from stores.files import sweep_litter, sync_file, write_json
from stores.forecast import open_forecast
from stores.issue import (
    FORECAST,
    ISSUES,
    ITEM,
    MANIFEST,
    IssueKey,
    read_key,
)
from stores.item import build_item
from stores.lease import Lease, lease
from stores.manifest import list_files, read_manifest, write_manifest
from stores.published import Issue, find_issue, revisions_of
from stores.register import Entry, enter, place_of, revision_name
from stores.times import spell_dates

logger = logging.getLogger(__name__)

_WAIT_S = 120.0  # the lease of publications is held for seconds


@dataclass(frozen=True, slots=True)
class Published:
    """Where an issue is, and whether this run put it there."""

    path: Path
    revision: int
    is_new: bool


def publish_issue(root: Path, stage: Path, key: IssueKey, held: Lease) -> Published:
    """Verify a staged issue and make it visible; the rest of its stage is removed.

    An issue of the same key is kept and returned; of another key, it stays beside the new one,
    which becomes the next revision.

    Args:
        root: folder of the store.
        stage: folder given by ``open_stage``, with a finished forecast.
        key: what the issue follows from.
        held: the lease ``key.lease_name``.

    Raises:
        FencedError: somebody took the lease since.
        CorruptError: the stage is incomplete or damaged; says where. Nothing is published.
    """
    _check_lease(key, held)
    known = already_published(root, key)
    if known is not None:
        discard(stage.parent)
        return known
    sweep_litter(stage)
    _check_stage(stage, key)
    files = digest_files(stage, _own_files(stage))
    with publishing(root):
        settle(root)
        revision = next_revision(root, key)
        target = root / ISSUES / place_of(key.name, key.init, revision)
        manifest = _seal(root, stage, key, revision, files)
        held.check()
        entry = Entry.of("begun", key, revision, manifest)
        enter(root, [entry])
        crash_point("publish.rename")
        target.parent.mkdir(parents=True, exist_ok=True)
        stage.rename(target)
        for folder in (target.parent, target.parent.parent, stage.parent):
            sync_file(folder)
        crash_point("publish.enter")
        enter(root, [entry.then("published")])
        crash_point("publish.catalog")
        write_catalogs(root)
    crash_point("publish.rest")
    discard(stage.parent)
    logger.info("published %s as revision %d of %s", target, revision, spell_dates(key.init))
    return Published(target, revision, is_new=True)


def already_published(root: Path, key: IssueKey) -> Published | None:
    """Find the issue of an earlier run, and put it into the catalog if that run died before.

    Raises:
        CorruptError: it is there, and files of it are missing or cut short.
    """
    issue = find_issue(root, key)
    if issue is None:
        return None
    _check_whole(issue)
    refresh_catalog(root)
    return Published(issue.path, issue.revision, is_new=False)


def refresh_catalog(root: Path) -> Path:
    """Bring register and catalogs up to date with what is published."""
    with publishing(root):
        settle(root)
        return write_catalogs(root)


@contextmanager
def publishing(root: Path) -> Iterator[None]:
    """Be the only one who names and removes issues, and writes the catalogs."""
    with lease(root, "publish", wait_s=_WAIT_S):
        yield


def _check_whole(issue: Issue) -> None:
    """Refuse to call an issue published whose files are missing or cut; reads no file."""
    manifest = read_manifest(issue.path)
    sizes = {
        name: compare_file(issue.path / name, d, sizes_only=True)
        for name, d in manifest["files"].items()
    }
    found = {name: what for name, what in sizes.items() if what}
    if found:
        said = [f"{name} {what}" for name, what in found.items()]
        raise CorruptError(
            f"{issue.path} was published before and is damaged ({listed(said)}), so it is not "
            f"what readers should have; restore it from a copy, or move it away (mv "
            f"{issue.path} {issue.path.name}-damaged) and forecast again; 'cubecast verify "
            f"{issue.path}' names all of it"
        )


def _check_lease(key: IssueKey, held: Lease) -> None:
    if held.name != key.lease_name:
        raise ValueError(
            f"lease {held.name!r} does not guard this issue, so another run could publish it "
            f"too; take the lease {key.lease_name!r}"
        )
    held.check()


def _check_stage(stage: Path, key: IssueKey) -> None:
    if read_key(stage) != key:
        raise CorruptError(
            f"{stage} was opened for {read_key(stage)}, not for {key}, so it would be "
            "published under a wrong name; open the stage of this request"
        )
    findings = check_contents(stage)
    if findings:
        more = f"\n  ... and {len(findings) - 20} more" if len(findings) > 20 else ""
        raise CorruptError(
            f"{stage} is not fit to be read, so it is not published; delete it and run the "
            "forecast again:\n  " + "\n  ".join(findings[:20]) + more
        )


def _seal(
    root: Path, stage: Path, key: IssueKey, revision: int, files: Mapping[str, FileDigest]
) -> str:
    """Write item and manifest and force the stage to the disk; return the manifest's digest."""
    forecast = open_forecast(stage / FORECAST)
    before = revisions_of(root, key.name, key.init).get(revision - 1)
    crash_point("publish.item")
    item = build_item(
        forecast,
        key,
        name=revision_name(key.init, revision),
        revision=revision,
        previous=before.name if before else None,
        files=files,
    )
    write_json(stage / ITEM, item)
    crash_point("publish.manifest")
    sealed = dict(files) | digest_files(stage, [ITEM])
    digest = write_manifest(stage, key, revision=revision, forecast=forecast, files=sealed)
    crash_point("publish.sync")
    _drop_work_files(stage)
    for path in (stage, *stage.rglob("*")):
        sync_file(path)
    return digest


def _own_files(stage: Path) -> list[str]:
    """List what will be published: hidden files at the top are notes of the run."""
    sealed = {ITEM, MANIFEST}
    return [name for name in list_files(stage) if name not in sealed and name[0] != "."]


def _drop_work_files(stage: Path) -> None:
    for path in stage.glob(".*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
