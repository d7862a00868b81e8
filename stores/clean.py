"""Cleaning a store: what runs that died left behind goes, and what a policy no longer keeps.

What somebody works on is guarded by its lease and left alone; what readers see goes only when
a policy says so, and nothing that is current or referred to ever does.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stores.accounts import is_settled, settle
from stores.bundle import MODELS, abandoned_bundles
from stores.catalog import write_catalogs
from stores.crash import crash_point
from stores.discard import discard, find_discarded
from stores.errors import BusyError
from stores.issue import ISSUES, STAGING, stage_lease, stages_of
from stores.lease import is_free, lease
from stores.leftovers import KeepPolicy, Leftover, judge_age, measure, remove_files
from stores.prune import judge_bundles, judge_revisions
from stores.publish import publishing
from stores.published import published_issues
from stores.register import enter

_MARKS = ("cube.zarr", MODELS, ISSUES, STAGING)
_TEMPORARY = ("", ".leases", MODELS, f"{ISSUES}/*", "scores/*", "training/*")
"""Folders in which small files are replaced, each through a temporary one."""


def clean(root: Path, policy: KeepPolicy, *, dry_run: bool = False) -> list[Leftover]:
    """Remove what a policy does not keep, and list all that was looked at.

    Args:
        root: folder of the store.
        policy: what stays, and for how long.
        dry_run: write nothing, and say what would go.

    Raises:
        ValueError: the folder is no store.
        CorruptError: the store is of an earlier version.
        BusyError: another run publishes for minutes.
    """
    if not any((root / mark).exists() for mark in _MARKS):
        raise ValueError(
            f"{root} holds none of {', '.join(_MARKS)}, so it is no store and its files are "
            "left alone; name the root of a recipe"
        )
    found = clean_stages(root, policy, dry_run=dry_run)
    found += _clean_bundle_stages(root, policy, dry_run=dry_run)
    temporary = [
        judge_age("temporary file", path, policy, young="may be in use")
        for folder in _TEMPORARY
        for path in sorted(root.glob(f"{folder}/.*.tmp".lstrip("/")))
        if path.is_file()
    ]
    if not dry_run:
        remove_files(temporary)
    return [*found, *temporary, *_prune(root, policy, dry_run=dry_run)]


def clean_stages(root: Path, policy: KeepPolicy, *, dry_run: bool = False) -> list[Leftover]:
    """Remove stages whose issue is published, or that nobody came back to.

    A stage that a live run holds is left alone; one of a dead run stays for its rerun, until it
    is older than the policy says.
    """
    if not dry_run and not is_settled(root):
        with publishing(root):  # what a stage tells of its issue goes with it
            settle(root)
    shelves = published_issues(root).values()
    done = {issue.key.stage_name for issues in shelves for issue in issues}
    found = _finish_discards(root, dry_run=dry_run)
    for stage in stages_of(root):
        with _holding(root, stage_lease(stage), dry_run=dry_run) as is_ours:
            if not is_ours:
                found.append(Leftover("stage", stage, measure(stage)[0], False, "in use"))
                continue
            judged = _judge_stage(stage, policy, is_done=stage.name in done)
            if judged.goes and not dry_run:
                discard(stage)
            found.append(judged)
    return found


def _judge_stage(stage: Path, policy: KeepPolicy, *, is_done: bool) -> Leftover:
    if is_done:
        return Leftover("stage", stage, measure(stage)[0], True, "its issue is published")
    return judge_age("stage", stage, policy, young="a rerun would go on with it")


def _finish_discards(root: Path, *, dry_run: bool) -> list[Leftover]:
    """Finish removals that a crash cut short."""
    folders = (root / STAGING, root / MODELS, *sorted((root / ISSUES).glob("[!.]*/")))
    gone = [path for folder in folders for path in find_discarded(folder)]
    why = "its removal was cut short"
    found = [Leftover("removed folder", path, measure(path)[0], True, why) for path in gone]
    if not dry_run:
        for path in gone:
            shutil.rmtree(path, ignore_errors=True)
    return found


def _clean_bundle_stages(root: Path, policy: KeepPolicy, *, dry_run: bool) -> list[Leftover]:
    """Remove bundles that never were published, and whose makers are dead."""
    found = []
    for folder in abandoned_bundles(root / MODELS):
        judged = judge_age("staged bundle", folder, policy, young="its maker may have begun")
        if judged.goes and not dry_run:
            shutil.rmtree(folder, ignore_errors=True)
        found.append(judged)
    return found


def _prune(root: Path, policy: KeepPolicy, *, dry_run: bool) -> list[Leftover]:
    """Remove revisions and bundles that the policy does not keep, while nobody publishes."""
    with ExitStack() as stack:
        if not dry_run and (root / ISSUES).is_dir():
            stack.enter_context(publishing(root))
            settle(root)
        revisions = judge_revisions(root, policy)
        gone = frozenset(one.path for one in revisions if one.goes)
        found = [*revisions, *judge_bundles(root, policy, without=gone)]
        if dry_run:
            return found
        issues = {issue.path: issue for one in published_issues(root).values() for issue in one}
        removed = [issues[path].entry("removed") for path in sorted(gone)]
        if removed:
            enter(root, removed)  # first: who meant it to go must never be in doubt
        crash_point("clean.remove")
        for one in found:
            if one.goes:
                discard(one.path)
        if (root / ISSUES).is_dir():
            write_catalogs(root)
    return found


@contextmanager
def _holding(root: Path, name: str, *, dry_run: bool) -> Iterator[bool]:
    """Hold a lease, or for a dry run merely look; tell whether nobody else holds it."""
    if dry_run:
        yield is_free(root, name)
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(lease(root, name, wait_s=0))
        except BusyError:
            yield False
            return
        yield True
