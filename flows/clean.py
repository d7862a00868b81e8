"""Clean a store, and show what went, what stays, and why."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from flows.console import console, show_table
from flows.recipe_store import retention_policy
from flows.resolve import open_recipe
from stores.clean import clean as clean_store
from stores.formatting import format_bytes
from stores.retention import DAY_S, CleanupCandidate, RetentionPolicy

_AGE = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>[hd])")
_UNITS = {"h": 3600.0, "d": DAY_S}


def clean(
    what: str,
    *,
    dry_run: bool,
    older_than: str | None,
    keep_revisions: int | None,
    keep_bundles: int | None,
) -> None:
    """Remove what runs that died left behind, and what the policy does not keep.

    Args:
        what: folder of a store, or a recipe, whose ``outputs.keep`` then is the policy.
        dry_run: write nothing.
        older_than: age that things must have to go, such as ``7d``.
        keep_revisions: revisions of one init that stay.
        keep_bundles: bundles that nobody refers to and that stay.
    """
    root, policy = _find(what)
    policy = replace(
        policy,
        min_age_s=policy.min_age_s if older_than is None else parse_age(older_than),
        revisions=policy.revisions if keep_revisions is None else keep_revisions,
        bundles=policy.bundles if keep_bundles is None else keep_bundles,
    )
    found = clean_store(root, policy, dry_run=dry_run)
    show_cleaning(root, found, dry_run=dry_run)


def parse_age(text: str) -> float:
    """Read an age such as ``7d`` or ``12h`` [s].

    Raises:
        ValueError: it is none.
    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"older-than={text!r} is no age, so nothing can be compared with it; write e.g. 7d "
            "or 12h"
        )
    return float(match["number"]) * _UNITS[match["unit"]]


def show_cleaning(root: Path, found: Iterable[CleanupCandidate], *, dry_run: bool) -> None:
    """Print what went, one line each, and what stays, one line for each reason."""
    gone = [candidate for candidate in found if candidate.is_removed]
    kept: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for candidate in found:
        if not candidate.is_removed:
            kept[candidate.kind, candidate.reason].append(candidate.n_bytes)
    if gone:
        title = f"{'would go from' if dry_run else 'removed from'} {root}"
        removed = [_row(root, candidate) for candidate in gone]
        show_table(title, removed, columns=list(removed[0]))
    if kept:
        rows = [
            {"what": what, "count": len(sizes), "size": format_bytes(sum(sizes)), "why": why}
            for (what, why), sizes in sorted(kept.items())
        ]
        show_table(f"stays in {root}", rows, columns=list(rows[0]))
    size = format_bytes(sum(candidate.n_bytes for candidate in gone))
    console.print(
        f"{len(gone)} would go, {size}; nothing was removed"
        if dry_run
        else f"{len(gone)} removed, {size}",
        highlight=False,
    )


def _row(root: Path, candidate: CleanupCandidate) -> dict[str, str]:
    path = str(candidate.path.relative_to(root))
    return {
        "what": candidate.kind,
        "path": path,
        "size": format_bytes(candidate.n_bytes),
        "why": candidate.reason,
    }


def _find(what: str) -> tuple[Path, RetentionPolicy]:
    """Find the store that is meant, and what stays of it."""
    if Path(what).is_dir():
        return Path(what), RetentionPolicy()
    recipe = open_recipe(what, None, None)
    return recipe.root, retention_policy(recipe)
