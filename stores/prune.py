"""Which published revisions and bundles a policy keeps, and why."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from itertools import groupby
from pathlib import Path

from stores.bundle import BUNDLE, MODELS, current_names
from stores.issue import staged_keys
from stores.leftovers import KeepPolicy, Leftover, measure, show_age
from stores.published import Issue, published_issues

SCORES = "scores"


def judge_revisions(root: Path, policy: KeepPolicy) -> list[Leftover]:
    """Judge every sound issue: the newest revision of an init_time always stays."""
    found: list[Leftover] = []
    for name, issues in published_issues(root).items():
        for _, same in groupby(issues, key=lambda issue: issue.key.init):
            newest = [*same][::-1]
            for rank, issue in enumerate(newest):
                stays = _why_revision_stays(issue, rank, name, policy)
                why = stays or f"{newest[0].path.name} is current"
                n_bytes = measure(issue.path)[0]
                found.append(Leftover("issue", issue.path, n_bytes, not stays, why))
    return found


def judge_bundles(
    root: Path, policy: KeepPolicy, *, without: AbstractSet[Path] = frozenset()
) -> list[Leftover]:
    """Judge every bundle: one that is current or that somebody refers to always stays.

    Args:
        root: folder of the store.
        policy: how many of the others stay.
        without: issues that will be gone.
    """
    folders = [path for path in (root / MODELS).glob("[!.]*/") if (path / BUNDLE).exists()]
    newest = sorted(folders, key=lambda path: (path / BUNDLE).stat().st_mtime, reverse=True)
    referred = _References(root, policy, without)
    found: list[Leftover] = []
    n_free: Counter[str] = Counter()
    for folder in newest:
        name = folder.name.rpartition("-")[0]
        stays = referred.why(folder)
        if not stays:
            stays = _why_bundle_stays(folder, n_free[name], name, policy)
            n_free[name] += 1
        why = stays or "nobody refers to it"
        found.append(Leftover("bundle", folder, measure(folder)[0], not stays, why))
    return found


class _References:
    """Who refers to bundles: pointers, issues, stages, scores and recipes."""

    def __init__(self, root: Path, policy: KeepPolicy, without: AbstractSet[Path]) -> None:
        self.scores, self.named = root / SCORES, policy.named
        self.current = current_names(root / MODELS)
        issues = [i for shelf in published_issues(root).values() for i in shelf]
        self.published = _digits(i.key.bundles for i in issues if i.path not in without)
        self.staged = _digits(key.bundles for key in staged_keys(root))

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


def _digits(bundles: Iterable[Sequence[str]]) -> set[str]:
    """Take from digests what stands in the names of folders."""
    return {digest[:12] for digests in bundles for digest in digests}


def _why_revision_stays(issue: Issue, rank: int, name: str, policy: KeepPolicy) -> str:
    if rank == 0:
        return "current"
    if policy.revisions is None or not policy.concerns(name):
        return "no policy for revisions"
    if rank < policy.revisions:
        return f"one of the {policy.revisions} newest revisions"
    return _why_young(datetime.fromisoformat(issue.created).timestamp(), policy)


def _why_bundle_stays(folder: Path, rank: int, name: str, policy: KeepPolicy) -> str:
    if policy.bundles is None or not policy.concerns(name):
        return "no policy for bundles"
    if rank < policy.bundles:
        return f"one of the {policy.bundles} newest that nobody refers to"
    return _why_young((folder / BUNDLE).stat().st_mtime, policy)


def _why_young(made: float, policy: KeepPolicy) -> str:
    is_young = time.time() - made < policy.older_than_s
    return f"younger than {show_age(policy.older_than_s)}" if is_young else ""
