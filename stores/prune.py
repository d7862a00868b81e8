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
    """Assess every valid issue: the newest revision of an init_time always stays."""
    candidates: list[CleanupCandidate] = []
    for name, issues in published_issues(root).items():
        for _, revisions in groupby(issues, key=lambda issue: issue.key.init):
            newest_first = [*revisions][::-1]
            for rank, issue in enumerate(newest_first):
                keep_reason = _revision_keep_reason(issue, rank, name, policy)
                reason = keep_reason or f"{newest_first[0].path.name} is current"
                n_bytes = tree_usage(issue.path)[0]
                candidates.append(
                    CleanupCandidate("issue", issue.path, n_bytes, not keep_reason, reason)
                )
    return candidates


def assess_bundles(
    root: Path, policy: RetentionPolicy, *, excluding: AbstractSet[Path] = frozenset()
) -> list[CleanupCandidate]:
    """Assess every bundle: one that is current or that somebody refers to always stays.

    Args:
        root: folder of the store.
        policy: how many of the others stay.
        excluding: issues that will be gone.
    """
    folders = [path for path in (root / MODELS).glob("[!.]*/") if (path / BUNDLE).exists()]
    newest_first = sorted(
        folders, key=lambda path: (path / BUNDLE).stat().st_mtime, reverse=True
    )
    references = _BundleReferences(root, policy, excluding)
    candidates: list[CleanupCandidate] = []
    n_unreferenced: Counter[str] = Counter()
    for folder in newest_first:
        name = folder.name.rpartition("-")[0]
        keep_reason = references.keep_reason(folder)
        if not keep_reason:
            keep_reason = _bundle_keep_reason(folder, n_unreferenced[name], name, policy)
            n_unreferenced[name] += 1
        reason = keep_reason or "nobody refers to it"
        candidates.append(
            CleanupCandidate("bundle", folder, tree_usage(folder)[0], not keep_reason, reason)
        )
    return candidates


class _BundleReferences:
    """Who refers to bundles: pointers, issues, stages, scores and recipes."""

    def __init__(
        self, root: Path, policy: RetentionPolicy, excluding: AbstractSet[Path]
    ) -> None:
        self.scores = root / SCORES_FOLDER
        self.pinned = policy.pinned_bundles
        self.current = list_current_folders(root / MODELS)
        issues = [i for of_recipe in published_issues(root).values() for i in of_recipe]
        self.published = _digest_prefixes(
            i.key.bundles for i in issues if i.path not in excluding
        )
        self.staged = _digest_prefixes(key.bundles for key in list_staged_keys(root))

    def keep_reason(self, folder: Path) -> str:
        """Describe who refers to a bundle; empty when nobody does."""
        digits = folder.name.rpartition("-")[2]
        reasons = {
            "current": folder.name in self.current,
            "of a published issue": digits in self.published,
            "of a forecast that is being made": digits in self.staged,
            "has scores": (self.scores / folder.name).is_dir(),
            "named by the recipe": folder.name in self.pinned,
        }
        return next((reason for reason, holds in reasons.items() if holds), "")


def _digest_prefixes(bundles: Iterable[Sequence[str]]) -> set[str]:
    """Return the prefixes of digests that stand in the names of folders."""
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


def _young_keep_reason(created: float, policy: RetentionPolicy) -> str:
    is_young = time.time() - created < policy.min_age_s
    return f"younger than {format_age(policy.min_age_s)}" if is_young else ""
