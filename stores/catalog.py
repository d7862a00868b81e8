"""The STAC catalog of a store: which issues there are, and which is the latest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stores.files import write_text
from stores.issue import ISSUES, ITEM
from stores.item import GEOJSON, JSON, STAC_VERSION, VERSION
from stores.published import Issue, published_issues

CATALOG = "catalog.json"


def build_catalog(root: Path) -> dict[str, Any]:
    """Describe all published issues; the same issues give the same catalog.

    Every issue has one ``item`` link. Of the revisions of one init_time the last is current and
    the others are marked deprecated. The link ``latest`` leads to the current revision of the
    newest init_time, whose name is also in ``cubecast:latest``.
    """
    issues = published_issues(root)
    current = {issue.key.init: issue for issue in issues}  # revisions are sorted: the last wins
    links = [_link("root", f"./{CATALOG}", JSON)]
    catalog: dict[str, Any] = {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "stac_extensions": [VERSION],
        "id": "forecasts",
        "title": issues[-1].title if issues else "Forecasts",
        "description": "Published forecasts. Follow the link 'latest' for the newest one.",
        "links": links,
    }
    if issues:
        catalog["cubecast:latest"] = issues[-1].path.name
        links.append(_link("latest", _href(issues[-1]), GEOJSON))
    links += [_item_link(issue, current[issue.key.init]) for issue in issues]
    return catalog


def write_catalog(root: Path) -> Path:
    """Bring ``catalog.json`` up to date in one rename, if it is not.

    Whoever calls this holds the lease of publications: of two writers the slower would win.
    """
    path = root / CATALOG
    text = json.dumps(build_catalog(root), indent=1, sort_keys=True) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    return path


def check_catalog(root: Path) -> list[str]:
    """Compare the catalog with what is published; [] when they agree."""
    try:
        written = json.loads((root / CATALOG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return [f"{CATALOG} cannot be read ({error}), so analysts find nothing; publish again"]
    if written != build_catalog(root):
        return [f"{CATALOG} does not say what {ISSUES}/ holds; publish again to rewrite it"]
    return []


def _item_link(issue: Issue, current: Issue) -> dict[str, Any]:
    link = _link("item", _href(issue), GEOJSON) | {
        "title": issue.path.name,
        "version": str(issue.revision),
    }
    return link if issue is current else link | {"deprecated": True}


def _href(issue: Issue) -> str:
    return f"./{ISSUES}/{issue.path.name}/{ITEM}"


def _link(rel: str, href: str, media_type: str) -> dict[str, Any]:
    return {"rel": rel, "href": href, "type": media_type}
