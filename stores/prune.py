"""Which published revisions and bundles a policy keeps, and why."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from itertools import groupby
from pathlib import Path

from stores.bundle import BUNDLE, MODELS, list_current_folders
from stores.issue import list_staged_keys
from stores.published import Issue, published_issues
from stores.retention import CleanupCandidate, RetentionPolicy, format_age, tree_usage

SCORES_FOLDER = "scores"


def assess_revisions(root: Path, policy: RetentionPolicy) -> list[CleanupCandidate]:
    """Judge every sound issue: the newest revision of an init_time always stays."""
    found: list[CleanupCandidate] = []
    for name, issues in published_issues(root).items():
        for _, same in groupby(issues, key=lambda issue: issue.key.init):
            newest = [*same][::-1]
            for rank, issue in enumerate(newest):
                stays = _revision_keep_reason(issue, rank, name, policy)
                why = stays or f"{newest[0].path.name} is current"
                n_bytes = tree_usage(issue.path)[0]
                found.append(CleanupCandidate("issue", issue.path, n_bytes, not stays, why))
    return found


def assess_bundles(
    root: Path, policy: RetentionPolicy, *, excluding: AbstractSet[Path] = frozenset()
) -> list[CleanupCandidate]:
    """Judge every bundle: one that is current or that somebody refers to always stays.

    Args:
        root: folder of the store.
        policy: how many of the others stay.
        without: issues that will be gone.
    """
    folders = [path for path in (root / MODELS).glob("[!.]*/") if (path / BUNDLE).exists()]
    newest = sorted(folders, key=lambda path: (path / BUNDLE).stat().st_mtime, reverse=True)
    referred = _BundleReferences(root, policy, excluding)
    found: list[CleanupCandidate] = []
    n_free: Counter[str] = Counter()
    for folder in newest:
        name = folder.name.rpartition("-")[0]
        stays = referred.why(folder)
        if not stays:
            stays = _bundle_keep_reason(folder, n_free[name], name, policy)
            n_free[name] += 1
        why = stays or "nobody refers to it"
        found.append(CleanupCandidate("bundle", folder, tree_usage(folder)[0], not stays, why))
    return found


class _BundleReferences:
    """Who refers to bundles: pointers, issues, stages, scores and recipes."""

    def __init__(self, root: Path, policy: RetentionPolicy, without: AbstractSet[Path]) -> None:
        self.scores, self.named = root / SCORES_FOLDER, policy.pinned_bundles
        self.current = list_current_folders(root / MODELS)
        issues = [i for shelf in published_issues(root).values() for i in shelf]
        self.published = _digest_prefixes(
            i.key.bundles for i in issues if i.path not in without
        )
        self.staged = _digest_prefixes(key.bundles for key in list_staged_keys(root))

    def why(self, folder: Path) -> str:
        """Say who refers to a bundle; nothing when nobody does."""
        digits = folder.name.rpartition("-")[2]
        reasons = {
            "current": folder.name in self.current,
            "of a published issue": digits in self.published,
            "of a forecast that is being made": digits in self.staged,
            "has scores": (self.scores / folder.name).is_dir(),
            "named by the recipe": folder.name in self.named,
        }
        return next((why for why, is_so in reasons.items() if is_so), "")


def _digest_prefixes(bundles: Iterable[Sequence[str]]) -> set[str]:
    """Take from digests what stands in the names of folders."""
    return {digest[:12] for digests in bundles for digest in digests}


def _revision_keep_reason(issue: Issue, rank: int, name: str, policy: RetentionPolicy) -> str:
    if rank == 0:
        return "current"
    if policy.revisions is None or not policy.applies_to(name):
        return "no policy for revisions"
    if rank < policy.revisions:
        return f"one of the {policy.revisions} newest revisions"
    return _young_keep_reason(datetime.fromisoformat(issue.created).timestamp(), policy)


def _bundle_keep_reason(folder: Path, rank: int, name: str, policy: RetentionPolicy) -> str:
    if policy.bundles is None or not policy.applies_to(name):
        return "no policy for bundles"
    if rank < policy.bundles:
        return f"one of the {policy.bundles} newest that nobody refers to"
    return _young_keep_reason((folder / BUNDLE).stat().st_mtime, policy)


def _young_keep_reason(made: float, policy: RetentionPolicy) -> str:
    is_young = time.time() - made < policy.min_age_s
    return f"younger than {format_age(policy.min_age_s)}" if is_young else ""
