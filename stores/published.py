"""The issues that readers can see, in a folder for each recipe."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stores.errors import CorruptError
from stores.issue import FORECAST, ISSUES, MANIFEST, IssueKey
from stores.manifest import check_location, digest_manifest, issue_key, read_manifest
from stores.register import Action, Register, RegisterEntry, read_register

logger = logging.getLogger(__name__)

_REVISION = re.compile(r"(?P<init>.+?)(?:\.r(?P<number>\d+))?")


@dataclass(frozen=True, slots=True)
class Issue:
    """One published forecast."""

    path: Path
    key: IssueKey
    revision: int
    title: str
    created: str
    manifest: str
    """Digest of its manifest, which holds those of all its files."""

    def register_entry(self, act: Action) -> RegisterEntry:
        """Build the register's entry of what happened to it."""
        return RegisterEntry.of(act, self.key, self.revision, self.manifest)


def published_issues(root: Path) -> dict[str, list[Issue]]:
    """List the issues of each recipe by init_time and revision.

    Left out, with a warning, is what is damaged, or is not what was published there.

    Raises:
        CorruptError: issues lie in the folders of an earlier version.
    """
    check_issue_folders(root)
    register = read_register(root)
    issues_by_recipe = {
        folder.name: list(_read_recipe_issues(folder, register))
        for folder in _folders(root / ISSUES)
    }
    return {
        recipe: sorted(issues, key=lambda issue: (issue.key.init, issue.revision))
        for recipe, issues in issues_by_recipe.items()
        if issues
    }


def find_issue(root: Path, key: IssueKey) -> Issue | None:
    """Find the issue that a request led to, when it was published before."""
    issues = published_issues(root).get(key.name, [])
    return next((issue for issue in issues if issue.key == key), None)


def find_revisions(root: Path, recipe: str, init: str) -> dict[int, Path]:
    """Find all revisions of one init_time, damaged ones too, by their number."""
    revisions = {}
    for path in _folders(root / ISSUES / recipe):
        match = _REVISION.fullmatch(path.name)
        if match and match["init"] == init:
            revisions[int(match["number"] or 1)] = path
    return dict(sorted(revisions.items()))


def check_issue_folders(root: Path) -> None:
    """Refuse a store whose issues lie directly below ``issues/``, as they once did.

    Raises:
        CorruptError: names them and says what to do.
    """
    stray = find_stray_issues(root)
    if stray:
        raise CorruptError(
            f"{root / ISSUES} holds {stray[0].name}{' and more' if stray[1:] else ''} beside "
            "the folders of recipes, as earlier versions wrote it, so nobody can tell whose "
            f"forecasts these are; move them away (mv {root / ISSUES} {root}/issues-before) "
            "and run the forecasts again"
        )


def find_stray_issues(root: Path) -> list[Path]:
    """List issues that lie in no recipe's folder."""
    entries = (MANIFEST, FORECAST)
    return [
        f for f in _folders(root / ISSUES) if any((f / entry).exists() for entry in entries)
    ]


def list_issue_folders(root: Path) -> list[Path]:
    """List the folders of all issues, whatever they hold."""
    return [path for folder in _folders(root / ISSUES) for path in _folders(folder)]


def _read_recipe_issues(recipe_folder: Path, register: Register) -> Iterator[Issue]:
    """Read the issues of one recipe; what is not as it was published is warned of."""
    for path in _folders(recipe_folder):
        try:
            manifest = read_manifest(path)
            check_location(path, manifest)
            register.check_manifest(
                f"{recipe_folder.name}/{path.name}", digest_manifest(manifest)
            )
        except CorruptError as error:
            logger.warning("%s", error)
            continue
        yield Issue(
            path=path,
            key=issue_key(manifest),
            revision=manifest["revision"],
            title=manifest["title"],
            created=manifest["made"]["created"],
            manifest=digest_manifest(manifest),
        )


def _folders(parent: Path) -> list[Path]:
    """List the folders that are not hidden."""
    return sorted(path for path in parent.glob("[!.]*/"))
