"""Cleaning a store of what dead runs left behind, and of what a policy no longer keeps.

What somebody works on is guarded by its lease and left alone; what readers see goes only when
a policy says so, and nothing that is current or referred to ever does.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stores.bundle import MODELS, list_abandoned_stages
from stores.catalog import write_catalogs
from stores.crash import crash_point
from stores.errors import LeaseHeldError
from stores.issue import ISSUES, STAGING, list_stages, stage_lease_name
from stores.lease import is_free, lease
from stores.prune import assess_bundles, assess_revisions
from stores.publish import publish_lease
from stores.published import published_issues
from stores.reconcile import is_reconciled, reconcile_register
from stores.register import append_entries
from stores.removal import find_partial_removals, remove_tree
from stores.retention import (
    CleanupCandidate,
    RetentionPolicy,
    assess_age,
    remove_files,
    tree_usage,
)

_STORE_ENTRIES = ("cube.zarr", MODELS, ISSUES, STAGING)
_TEMPORARY = ("", ".leases", MODELS, f"{ISSUES}/*", "scores/*", "training/*")
"""Folders in which small files are replaced, each through a temporary one."""


def clean(
    root: Path, policy: RetentionPolicy, *, dry_run: bool = False
) -> list[CleanupCandidate]:
    """Remove what a policy does not keep, and list all that was looked at.

    Args:
        root: folder of the store.
        policy: what stays, and for how long.
        dry_run: write nothing, and list what would go.

    Raises:
        ValueError: the folder is no store.
        CorruptError: the store is of an earlier version.
        LeaseHeldError: another run publishes for minutes.
    """
    if not any((root / mark).exists() for mark in _STORE_ENTRIES):
        raise ValueError(
            f"{root} holds none of {', '.join(_STORE_ENTRIES)}, so it is no store and its "
            "files are left alone; name the root of a recipe"
        )
    candidates = clean_stages(root, policy, dry_run=dry_run)
    candidates += _clean_bundle_stages(root, policy, dry_run=dry_run)
    temporary = [
        assess_age("temporary file", path, policy, keep_reason="may be in use")
        for folder in _TEMPORARY
        for path in sorted(root.glob(f"{folder}/.*.tmp".lstrip("/")))
        if path.is_file()
    ]
    if not dry_run:
        remove_files(temporary)
    return [*candidates, *temporary, *_prune(root, policy, dry_run=dry_run)]


def clean_stages(
    root: Path, policy: RetentionPolicy, *, dry_run: bool = False
) -> list[CleanupCandidate]:
    """Remove stages whose issue is published, or that nobody came back to.

    A stage that a live run holds is left alone; one of a dead run stays for its rerun, until it
    is older than the policy says.
    """
    if not dry_run and not is_reconciled(root):
        with publish_lease(root):  # what a stage records of its issue goes with it
            reconcile_register(root)
    by_recipe = published_issues(root).values()
    done = {issue.key.stage_name for issues in by_recipe for issue in issues}
    candidates = _finish_removals(root, dry_run=dry_run)
    for stage in list_stages(root):
        with _try_lease(root, stage_lease_name(stage), dry_run=dry_run) as acquired:
            if not acquired:
                candidates.append(
                    CleanupCandidate("stage", stage, tree_usage(stage)[0], False, "in use")
                )
                continue
            candidate = _assess_stage(stage, policy, is_done=stage.name in done)
            if candidate.is_removed and not dry_run:
                remove_tree(stage)
            candidates.append(candidate)
    return candidates


def _assess_stage(stage: Path, policy: RetentionPolicy, *, is_done: bool) -> CleanupCandidate:
    if is_done:
        return CleanupCandidate(
            "stage", stage, tree_usage(stage)[0], True, "its issue is published"
        )
    return assess_age("stage", stage, policy, keep_reason="a rerun would go on with it")


def _finish_removals(root: Path, *, dry_run: bool) -> list[CleanupCandidate]:
    """Finish removals that a crash cut short."""
    folders = (root / STAGING, root / MODELS, *sorted((root / ISSUES).glob("[!.]*/")))
    removals = [path for folder in folders for path in find_partial_removals(folder)]
    reason = "its removal was cut short"
    found = [
        CleanupCandidate("removed folder", path, tree_usage(path)[0], True, reason)
        for path in removals
    ]
    if not dry_run:
        for path in removals:
            shutil.rmtree(path, ignore_errors=True)
    return found


def _clean_bundle_stages(
    root: Path, policy: RetentionPolicy, *, dry_run: bool
) -> list[CleanupCandidate]:
    """Remove bundles that never were published, and whose makers are dead."""
    candidates = []
    for folder in list_abandoned_stages(root / MODELS):
        candidate = assess_age(
            "staged bundle", folder, policy, keep_reason="its maker may have begun"
        )
        if candidate.is_removed and not dry_run:
            shutil.rmtree(folder, ignore_errors=True)
        candidates.append(candidate)
    return candidates


def _prune(root: Path, policy: RetentionPolicy, *, dry_run: bool) -> list[CleanupCandidate]:
    """Remove revisions and bundles that the policy does not keep, while nobody publishes."""
    with ExitStack() as stack:
        if not dry_run and (root / ISSUES).is_dir():
            stack.enter_context(publish_lease(root))
            reconcile_register(root)
        revisions = assess_revisions(root, policy)
        removed_paths = frozenset(r.path for r in revisions if r.is_removed)
        candidates = [*revisions, *assess_bundles(root, policy, excluding=removed_paths)]
        if dry_run:
            return candidates
        by_recipe = published_issues(root).values()
        by_path = {issue.path: issue for issues in by_recipe for issue in issues}
        entries = [by_path[path].register_entry("removed") for path in sorted(removed_paths)]
        if entries:
            append_entries(root, entries)  # first: who meant it to go must never be in doubt
        crash_point("clean.remove")
        for candidate in candidates:
            if candidate.is_removed:
                remove_tree(candidate.path)
        if (root / ISSUES).is_dir():
            write_catalogs(root)
    return candidates


@contextmanager
def _try_lease(root: Path, name: str, *, dry_run: bool) -> Iterator[bool]:
    """Hold a lease, or for a dry run merely look; yield whether nobody else holds it."""
    if dry_run:
        yield is_free(root, name)
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(lease(root, name, wait_s=0))
        except LeaseHeldError:
            yield False
            return
        yield True
