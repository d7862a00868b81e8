"""Publishing: a verified stage becomes visible in one rename, and the catalog follows.

A crash before the rename leaves readers with what they had; one after it leaves a whole issue
that the next publication, or the janitor, puts into the catalog.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stores.bundle import MODELS, sweep_bundles
from stores.catalog import write_catalog
from stores.contents import check_contents
from stores.crash import crash_point
from stores.errors import BusyError, CorruptError
from stores.files import sync_file, write_json
from stores.forecast import open_forecast
from stores.issue import (
    FORECAST,
    ISSUES,
    ITEM,
    MANIFEST,
    STAGING,
    IssueKey,
    read_key,
    stage_lease,
)
from stores.item import build_item
from stores.lease import Lease, lease
from stores.manifest import FileDigest, digest_files, list_files, write_manifest
from stores.published import find_issue, published_issues, revision_name, revisions_of

logger = logging.getLogger(__name__)

_WAIT_S = 120.0  # the lease of publications is held for seconds
_DAY_S = 86_400.0
_LITTER = (".*.tmp", "*.partial")


@dataclass(frozen=True, slots=True)
class Published:
    """Where an issue is, and whether this run put it there."""

    path: Path
    revision: int
    is_new: bool


def publish_issue(root: Path, stage: Path, key: IssueKey, held: Lease) -> Published:
    """Verify a stage and make it visible.

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
        shutil.rmtree(stage, ignore_errors=True)
        return known
    _sweep(stage)
    _check_stage(stage, key)
    files = digest_files(stage, _own_files(stage))
    with _publishing(root):
        revision = max(revisions_of(root, key.init), default=0) + 1
        target = root / ISSUES / revision_name(key.init, revision)
        _seal(root, stage, key, revision, files)
        held.check()
        crash_point("publish.rename")
        target.parent.mkdir(exist_ok=True)
        stage.rename(target)
        for folder in (target.parent, stage.parent):
            sync_file(folder)
        crash_point("publish.catalog")
        write_catalog(root)
    logger.info("published %s as revision %d of %s", target, revision, key.init)
    return Published(target, revision, is_new=True)


def already_published(root: Path, key: IssueKey) -> Published | None:
    """Find the issue of an earlier run, and put it into the catalog if that run died before."""
    issue = find_issue(root, key)
    if issue is None:
        return None
    refresh_catalog(root)
    return Published(issue.path, issue.revision, is_new=False)


def refresh_catalog(root: Path) -> Path:
    """Bring the catalog up to date with what is published."""
    with _publishing(root):
        return write_catalog(root)


def janitor(root: Path, *, idle_days: float = 7.0) -> list[Path]:
    """Remove what dead runs left behind, and return what was removed.

    Stages whose issue is published, or that nobody touched for ``idle_days``, go; younger ones
    stay for their rerun, without temporary files. What a live lease guards is left alone.
    """
    done = {issue.key.stage_name for issue in published_issues(root)}
    removed = []
    for stage in sorted((root / STAGING).glob("*-*/")):
        try:
            with lease(root, stage_lease(stage), wait_s=0):
                removed += _clean(stage, is_done=stage.name in done, idle_days=idle_days)
        except BusyError:
            continue
    removed += sweep_bundles(root / MODELS)
    for folder in (root, root / MODELS):
        litter = [path for path in folder.glob(".*.tmp") if _idle_s(path) > _DAY_S]
        removed += _remove(litter)
    if (root / ISSUES).is_dir():
        refresh_catalog(root)
    return removed


@contextmanager
def _publishing(root: Path) -> Iterator[None]:
    """Be the only one who names issues and writes the catalog."""
    with lease(root, "publish", wait_s=_WAIT_S):
        yield


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
) -> None:
    """Write item and manifest, and force all of the stage to the disk."""
    forecast = open_forecast(stage / FORECAST)
    before = revisions_of(root, key.init).get(revision - 1)
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
    write_manifest(stage, key, revision=revision, forecast=forecast, files=sealed)
    crash_point("publish.sync")
    _drop_work_files(stage)
    for path in (stage, *stage.rglob("*")):
        sync_file(path)


def _own_files(stage: Path) -> list[str]:
    """List what will be published: hidden files at the top are notes of the run."""
    sealed = {ITEM, MANIFEST}
    return [name for name in list_files(stage) if name not in sealed and name[0] != "."]


def _drop_work_files(stage: Path) -> None:
    for path in stage.glob(".*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _sweep(folder: Path) -> list[Path]:
    """Remove temporary files that a killed run left below a folder."""
    return _remove(
        path for pattern in _LITTER for path in folder.rglob(pattern) if path.is_file()
    )


def _remove(files: Iterable[Path]) -> list[Path]:
    removed = list(files)
    for path in removed:
        path.unlink(missing_ok=True)
    return removed


def _clean(stage: Path, *, is_done: bool, idle_days: float) -> list[Path]:
    if is_done or _idle_s(stage) > idle_days * _DAY_S:
        shutil.rmtree(stage)
        return [stage]
    return _sweep(stage)


def _idle_s(path: Path) -> float:
    """Tell how long ago anything below ``path`` was written [s]."""
    newest = max(found.stat().st_mtime for found in (path, *path.rglob("*")))
    return time.time() - newest
