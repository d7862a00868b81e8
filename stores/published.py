"""What is on the shelf: the issues that readers can see."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from stores.errors import CorruptError
from stores.issue import ISSUES, IssueKey
from stores.manifest import read_manifest

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


def published_issues(root: Path) -> list[Issue]:
    """List issues by init_time and revision; damaged ones are left out, with a warning."""
    issues = []
    for path in _folders(root):
        try:
            manifest = read_manifest(path)
        except CorruptError as error:
            logger.warning("%s", error)
            continue
        issues.append(
            Issue(
                path=path,
                key=IssueKey(**manifest["key"]),
                revision=manifest["revision"],
                title=manifest["title"],
                created=manifest["made"]["created"],
            )
        )
    return sorted(issues, key=lambda issue: (issue.key.init, issue.revision))


def find_issue(root: Path, key: IssueKey) -> Issue | None:
    """Find the issue that a request led to, when it was published before."""
    return next((issue for issue in published_issues(root) if issue.key == key), None)


def revisions_of(root: Path, init: str) -> dict[int, Path]:
    """Find all revisions of one init_time, damaged ones too, by their number."""
    found = {}
    for path in _folders(root):
        match = _REVISION.fullmatch(path.name)
        if match and match["init"] == init:
            found[int(match["number"] or 1)] = path
    return dict(sorted(found.items()))


def revision_name(init: str, revision: int) -> str:
    """Name the folder of a revision: the first is called after the init_time alone."""
    return init if revision == 1 else f"{init}.r{revision}"


def _folders(root: Path) -> list[Path]:
    shelf = root / ISSUES
    if not shelf.is_dir():
        return []
    return sorted(path for path in shelf.iterdir() if path.is_dir() and path.name[0] != ".")
