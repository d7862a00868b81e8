"""Publishing: a verified stage becomes visible in one rename, and the catalog follows.

A crash before the rename leaves readers with what they had; one after it leaves a complete
issue that the next publication puts into the catalog, and the rest of a stage that ``clean``
removes.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stores.catalog import write_catalogs
from stores.contents import check_issue_contents
from stores.crash import crash_point
from stores.digests import FileDigest, compare_file, digest_files
from stores.errors import CorruptError
from stores.files import fsync_path, remove_temp_files, write_json
from stores.forecast import open_forecast
from stores.formatting import abbreviate
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
from stores.published import Issue, find_issue, find_revisions
from stores.reconcile import next_revision, reconcile_register
from stores.register import RegisterEntry, append_entries, revision_name
from stores.removal import remove_tree
from stores.times import format_dates

logger = logging.getLogger(__name__)

_WAIT_S = 120.0  # the lease of publications is held for seconds


@dataclass(frozen=True, slots=True)
class PublishResult:
    """Where an issue is, and whether this run put it there."""

    path: Path
    revision: int
    is_new: bool


def publish_issue(root: Path, stage: Path, key: IssueKey, issue_lease: Lease) -> PublishResult:
    """Verify a staged issue and make it visible; the rest of its stage is removed.

    An issue of the same key is kept and returned; of another key, it stays beside the new one,
    which becomes the next revision.

    Args:
        root: folder of the store.
        stage: folder of ``open_stage``, with a finished forecast.
        key: what the issue follows from.
        issue_lease: the lease ``key.lease_name``.

    Raises:
        FencedError: somebody took the lease since.
        CorruptError: the stage is incomplete or damaged; says where. Nothing is published.
    """
    _check_lease(key, issue_lease)
    published = find_published(root, key)
    if published is not None:
        remove_tree(stage.parent)
        return published
    remove_temp_files(stage)
    _check_stage(stage, key)
    files = digest_files(stage, _publishable_files(stage))
    with publish_lease(root):
        reconcile_register(root)
        revision = next_revision(root, key)
        manifest = _write_metadata(root, stage, key, revision, files)
        issue_lease.check()
        target = _move_into_place(
            root, stage, RegisterEntry.of("begun", key, revision, manifest)
        )
        write_catalogs(root)
    crash_point("publish.rest")
    remove_tree(stage.parent)
    logger.info("published %s as revision %d of %s", target, revision, format_dates(key.init))
    return PublishResult(target, revision, is_new=True)


def _move_into_place(root: Path, stage: Path, entry: RegisterEntry) -> Path:
    """Rename a stage to its published folder, entered as begun before and published after."""
    target = root / ISSUES / entry.path
    append_entries(root, [entry])
    crash_point("publish.rename")
    target.parent.mkdir(parents=True, exist_ok=True)
    stage.rename(target)
    for folder in (target.parent, target.parent.parent, stage.parent):
        fsync_path(folder)
    crash_point("publish.enter")
    append_entries(root, [entry.with_act("published")])
    crash_point("publish.catalog")
    return target


def find_published(root: Path, key: IssueKey) -> PublishResult | None:
    """Find the issue of an earlier run, and put it into the catalog if that run died before.

    Raises:
        CorruptError: it is there, and files of it are missing or cut short.
    """
    issue = find_issue(root, key)
    if issue is None:
        return None
    _check_complete(issue)
    refresh_catalog(root)
    return PublishResult(issue.path, issue.revision, is_new=False)


def refresh_catalog(root: Path) -> Path:
    """Bring register and catalogs up to date with what is published."""
    with publish_lease(root):
        reconcile_register(root)
        return write_catalogs(root)


@contextmanager
def publish_lease(root: Path) -> Iterator[None]:
    """Hold the lease under which issues are named and removed, and catalogs written."""
    with lease(root, "publish", wait_s=_WAIT_S):
        yield


def _check_complete(issue: Issue) -> None:
    """Refuse to call an issue published whose files are missing or cut; reads no file."""
    manifest = read_manifest(issue.path)
    sizes = {
        name: compare_file(issue.path / name, d, sizes_only=True)
        for name, d in manifest["files"].items()
    }
    differing = {name: what for name, what in sizes.items() if what}
    if differing:
        descriptions = [f"{name} {what}" for name, what in differing.items()]
        raise CorruptError(
            f"{issue.path} was published before and is damaged ({abbreviate(descriptions)}), "
            f"so it is not what readers should have; restore it from a copy, or move it away "
            f"(mv {issue.path} {issue.path.name}-damaged) and forecast again; 'cubecast verify "
            f"{issue.path}' names all of it"
        )


def _check_lease(key: IssueKey, issue_lease: Lease) -> None:
    if issue_lease.name != key.lease_name:
        raise ValueError(
            f"lease {issue_lease.name!r} does not guard this issue, so another run could "
            f"publish it too; take the lease {key.lease_name!r}"
        )
    issue_lease.check()


def _check_stage(stage: Path, key: IssueKey) -> None:
    if read_key(stage) != key:
        raise CorruptError(
            f"{stage} was opened for {read_key(stage)}, not for {key}, so it would be "
            "published under a wrong name; open the stage of this request"
        )
    findings = check_issue_contents(stage)
    if findings:
        more = f"\n  ... and {len(findings) - 20} more" if len(findings) > 20 else ""
        raise CorruptError(
            f"{stage} is not fit to be read, so it is not published; delete it and run the "
            "forecast again:\n  " + "\n  ".join(findings[:20]) + more
        )


def _write_metadata(
    root: Path, stage: Path, key: IssueKey, revision: int, files: Mapping[str, FileDigest]
) -> str:
    """Write item and manifest and force the stage to the disk; return the manifest's digest."""
    forecast = open_forecast(stage / FORECAST)
    before = find_revisions(root, key.name, key.init).get(revision - 1)
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
    files_with_item = dict(files) | digest_files(stage, [ITEM])
    digest = write_manifest(
        stage, key, revision=revision, forecast=forecast, files=files_with_item
    )
    crash_point("publish.sync")
    _remove_hidden_files(stage)
    for path in (stage, *stage.rglob("*")):
        fsync_path(path)
    return digest


def _publishable_files(stage: Path) -> list[str]:
    """List what will be published: hidden files at the top are notes of the run."""
    written_last = {ITEM, MANIFEST}
    return [name for name in list_files(stage) if name not in written_last and name[0] != "."]


def _remove_hidden_files(stage: Path) -> None:
    for path in stage.glob(".*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
