"""The STAC catalogs of a store: which recipes and issues there are, and which is the latest.

The root's catalog leads to one catalog per recipe, and to the latest issue of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stores.files import json_text, read_json, why_unreadable, write_bytes
from stores.formatting import abbreviate
from stores.issue import CATALOG, ISSUES, ITEM
from stores.item import GEOJSON, JSON, STAC_VERSION, VERSION
from stores.published import (
    Issue,
    find_returned,
    issues_at_their_names,
    published_issues,
)

Catalog = dict[str, Any]


def build_catalogs(root: Path) -> dict[str, Catalog]:
    """Describe all published issues by path below the root; the root's catalog comes last.

    The same issues give the same catalogs.
    """
    return _describe(published_issues(root))


def _describe(issues_by_recipe: Mapping[str, Sequence[Issue]]) -> dict[str, Catalog]:
    catalogs = {
        f"{ISSUES}/{name}/{CATALOG}": _recipe_catalog(name, issues_by_recipe[name])
        for name in issues_by_recipe
    }
    return catalogs | {CATALOG: _root_catalog(issues_by_recipe)}


def write_catalogs(root: Path) -> Path:
    """Bring all catalogs up to date, each in one rename; return the root's.

    Whoever calls this holds the lease of publications: of two writers the slower would win.
    """
    for name, catalog in build_catalogs(root).items():
        text = json_text(catalog).encode()
        path = root / name
        if not path.exists() or path.read_bytes() != text:
            write_bytes(path, text)
    return root / CATALOG


def check_catalogs(root: Path, recipe: str = "") -> list[str]:
    """Compare the catalogs, or that of one recipe, with what is published; [] when they agree.

    One that follows what was published is right though an issue was renamed since: the issue
    itself is named, and goes back.
    """
    shelves = published_issues(
        root, on_damage=lambda error: None
    )  # others name what is left out
    now, before = _describe(shelves), _describe(issues_at_their_names(root))
    names = [f"{ISSUES}/{recipe}/{CATALOG}"] if recipe else {**now, **before}
    found = (_check(root, name, [now.get(name), before.get(name)]) for name in names)
    return [finding for finding in found if finding]


def _check(root: Path, name: str, wanted: Sequence[Catalog | None]) -> str:
    """Describe what is wrong with one catalog; nothing when it is as wanted."""
    holder = Path(name).parent if name != CATALOG else Path(ISSUES)
    if wanted == [None, None]:
        return f"{root / holder} holds no sound issue; forecast again"
    try:
        written = read_json(root / name)
    except (OSError, ValueError) as error:
        why = why_unreadable(error)
        return f"{name} cannot be read ({why}), so analysts find nothing; publish again"
    if written in wanted:
        return ""
    back = find_returned(root, "" if name == CATALOG else f"{holder.name}/")
    if not back:
        return f"{name} does not say what {holder}/ holds; publish again to rewrite it"
    return (
        f"{name} does not list {abbreviate(back)}, which came back after the register counted "
        "it as removed; publish again, or enter it again at once: cubecast verify "
        f"{root} --accept"
    )


def _root_catalog(issues_by_recipe: Mapping[str, Sequence[Issue]]) -> Catalog:
    """Lead to the catalog of each recipe, and to its latest issue."""
    catalog = _catalog("forecasts", "Forecasts", "Published forecasts, by recipe.")
    links = [_link("root", f"./{CATALOG}")]
    for name, issues in issues_by_recipe.items():
        latest = issues[-1]
        folder = f"./{ISSUES}/{name}"
        links += [
            _link("child", f"{folder}/{CATALOG}") | {"title": latest.title},
            _link("latest", f"{folder}/{latest.path.name}/{ITEM}", GEOJSON) | {"title": name},
        ]
    newest = {
        name: f"{name}/{issues[-1].path.name}" for name, issues in issues_by_recipe.items()
    }
    return catalog | {"links": links, "cubecast:latest": newest}


def _recipe_catalog(name: str, issues: Sequence[Issue]) -> Catalog:
    """List the issues of one recipe.

    Every issue has one ``item`` link. Of the revisions of one init_time the last is current and
    the others are marked deprecated. The link ``latest`` leads to the current revision of the
    newest init_time, whose name is also in ``cubecast:latest``.
    """
    current = {issue.key.init: issue for issue in issues}  # revisions are sorted: the last wins
    latest = issues[-1]
    catalog = _catalog(name, latest.title, "Forecasts of one recipe. 'latest' is the newest.")
    links = [
        _link("root", f"../../{CATALOG}"),
        _link("parent", f"../../{CATALOG}"),
        _link("latest", f"./{latest.path.name}/{ITEM}", GEOJSON),
    ]
    links += [_item_link(issue, current[issue.key.init]) for issue in issues]
    return catalog | {"links": links, "cubecast:latest": latest.path.name}


def _catalog(name: str, title: str, description: str) -> Catalog:
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "stac_extensions": [VERSION],
        "id": name,
        "title": title,
        "description": description,
    }


def _item_link(issue: Issue, current: Issue) -> dict[str, Any]:
    link = _link("item", f"./{issue.path.name}/{ITEM}", GEOJSON) | {
        "title": issue.path.name,
        "version": str(issue.revision),
    }
    return link if issue is current else link | {"deprecated": True}


def _link(rel: str, href: str, media_type: str = JSON) -> dict[str, Any]:
    return {"rel": rel, "href": href, "type": media_type}
