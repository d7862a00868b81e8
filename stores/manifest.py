"""The manifest of an issue: every file, every chunk, and what made them."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rasterio

from stores.chunks import list_chunk_files
from stores.digests import FileDigest, check_digest_record, compare_file, digest_json
from stores.errors import CorruptError
from stores.files import read_json, write_json
from stores.forecast import Forecast
from stores.issue import FORECAST, MANIFEST, IssueKey
from stores.register import issue_path
from stores.scrub import Scrub
from stores.times import utc_now

REGISTERED = "registered"
"""Stands in ``made`` of issues that were entered in the register of their store."""
_FIELD_TYPES = {
    "issue": str,
    "key": dict,
    "revision": int,
    "title": str,
    "bundles": list,
    "members": int,
    "files": dict,
    "chunks": dict,
    "made": dict,
}


def list_files(folder: Path) -> list[str]:
    """List all files below a folder by their paths in it, sorted."""
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def write_manifest(
    stage: Path,
    key: IssueKey,
    *,
    revision: int,
    forecast: Forecast,
    files: Mapping[str, FileDigest],
) -> str:
    """Write ``manifest.json`` and return its digest.

    Only ``made`` and ``digest`` differ between equal issues.
    """
    chunks: dict[str, list[str]] = {}
    for file in list_chunk_files(forecast.group).values():
        chunks.setdefault(f"{FORECAST}/{file.array}", []).append(file.key)
    content = {
        "issue": key.digest,
        "key": key.to_json(),
        "revision": revision,
        "title": str(forecast.group.attrs["title"]),
        "bundles": forecast.bundles,
        "members": forecast.members,
        "files": dict(files),
        "chunks": chunks,
        "made": {"created": utc_now(), REGISTERED: True} | _software(),
    }
    digest = digest_manifest(content)
    write_json(stage / MANIFEST, content | {"digest": digest})
    return digest


def read_manifest(issue: Path) -> dict[str, Any]:
    """Read the manifest of an issue and prove that it is complete.

    Raises:
        CorruptError: it is missing, or not what was written.
    """
    try:
        content = dict(read_json(issue / MANIFEST))
        if content.pop("digest") == digest_manifest(content):
            _check_shape(content)
            return content
        what = "does not match its own digest"
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"cannot be read ({error!r:.300})"
    raise CorruptError(
        f"{issue / MANIFEST} {what}, so nothing proves what the issue held; move the folder "
        "away and publish the issue again"
    )


def issue_key(manifest: Mapping[str, Any]) -> IssueKey:
    """Read what an issue follows from."""
    return IssueKey.from_json(manifest["key"])


def check_location(path: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse an issue that lies in another folder than it was published in.

    Raises:
        CorruptError: says where it belongs.
    """
    key = issue_key(manifest)
    expected = issue_path(key.name, key.init, manifest["revision"])
    folder = path.absolute()
    found = f"{folder.parent.name}/{folder.name}"
    if expected != found:
        raise CorruptError(
            f"{found} holds the forecast that was published as {expected}, so readers would "
            "take it for another; move the folder back to its name"
        )


def compare_files(issue: Path, manifest: Mapping[str, Any], scrub: Scrub) -> dict[str, str]:
    """Compare files with the manifest; return by name what happened to those that differ."""
    expected = manifest["files"]
    on_disk = set(list_files(issue)) - {MANIFEST}
    chunk_paths = {
        f"{array}/{key}" for array, keys in manifest["chunks"].items() for key in keys
    }
    found = dict.fromkeys(sorted((set(expected) | chunk_paths) - on_disk), "is missing")
    sampled = scrub.sample_files(expected)
    for name in sorted(set(expected) & on_disk):
        scrub.advance()
        what = compare_file(issue / name, expected[name], sizes_only=name not in sampled)
        if what:
            found[name] = what
    return found | dict.fromkeys(sorted(on_disk - set(expected)), "was never published")


def digest_manifest(content: Mapping[str, Any]) -> str:
    """Hash all that a manifest says, but its own ``digest``."""
    return digest_json(content)


def _check_shape(content: Mapping[str, Any]) -> None:
    """Refuse what no publication writes, though its digest is right.

    Raises:
        KeyError, TypeError, ValueError: says what is amiss.
    """
    for name, field_type in _FIELD_TYPES.items():
        if type(content[name]) is not field_type:
            raise TypeError(f"{name!r} is {content[name]!r:.60}")
    if issue_key(content).digest != content["issue"]:
        raise ValueError("its 'issue' is not that of its 'key'")
    if content["revision"] < 1:
        raise ValueError(f"its 'revision' is {content['revision']}")
    check_digest_record(content["files"])
    for array, keys in content["chunks"].items():
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise TypeError(f"the chunks of {array!r} are {keys!r:.60}")
    datetime.fromisoformat(content["made"]["created"])


def _software() -> dict[str, str]:
    packages = {name: version(name) for name in ("cubecast", "numpy", "zarr", "rasterio")}
    return packages | {"gdal": rasterio.__gdal_version__, "python": platform.python_version()}
