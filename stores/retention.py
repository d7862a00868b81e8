"""What is found in a store beside what readers see, and whether it may go."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """What stays when a store is cleaned; what is published or in use stays by default."""

    min_age_s: float = 7 * DAY_S
    """Nothing goes that was touched since, but stages whose issue is published [s]."""
    revisions: int | None = None
    """Revisions of one init_time that stay, the newest first; None keeps all."""
    bundles: int | None = None
    """Bundles that nobody refers to and that stay, the newest first; None keeps all."""
    recipe: str | None = None
    """The recipe whose revisions and bundles may go; None means every recipe of the store."""
    pinned_bundles: frozenset[str] = frozenset()
    """Folders of bundles that recipes name."""

    def __post_init__(self) -> None:
        if self.min_age_s < 0:
            raise ValueError(f"older_than_s={self.min_age_s} is negative; give 0 or more")
        if self.revisions is not None and self.revisions < 1:
            raise ValueError(
                f"keep {self.revisions} revisions would remove what readers follow; keep 1 or "
                "more"
            )
        if self.bundles is not None and self.bundles < 0:
            raise ValueError(f"keep {self.bundles} bundles is no number; keep 0 or more")

    def applies_to(self, recipe: str) -> bool:
        """Return whether revisions and bundles of a recipe may go."""
        return self.recipe is None or self.recipe == recipe


@dataclass(frozen=True, slots=True)
class CleanupCandidate:
    """One thing that was assessed."""

    kind: str
    path: Path
    n_bytes: int
    is_removed: bool
    reason: str


def assess_age(
    kind: str, path: Path, policy: RetentionPolicy, *, keep_reason: str
) -> CleanupCandidate:
    """Assess what may go once it was left alone for longer than the policy says.

    ``keep_reason`` says why it stays until then.
    """
    n_bytes, newest = tree_usage(path)
    idle_s = time.time() - newest
    is_removed = idle_s >= policy.min_age_s
    reason = f"nobody touched it for {format_age(idle_s)}" if is_removed else keep_reason
    return CleanupCandidate(kind, path, n_bytes, is_removed, reason)


def tree_usage(path: Path) -> tuple[int, float]:
    """Add up the bytes below a path, and find when it was last written [s since 1970]."""
    n_bytes = 0
    newest = 0.0
    for entry in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):  # a live run removes its temporary files
            stat = entry.lstat()
            n_bytes += stat.st_size if not entry.is_dir() else 0
            newest = max(newest, stat.st_mtime)
    return n_bytes, newest


def format_age(age_s: float) -> str:
    """Write an age for people."""
    if age_s >= DAY_S:
        return f"{age_s / DAY_S:.3g} days"
    return f"{age_s / 3600:.3g} hours" if age_s >= 3600 else f"{age_s / 60:.0f} minutes"


def remove_files(candidates: Iterable[CleanupCandidate]) -> None:
    """Remove files that may go."""
    for candidate in candidates:
        if candidate.is_removed:
            candidate.path.unlink(missing_ok=True)
