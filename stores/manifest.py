"""The manifest of an issue: every file, every chunk, and what made them."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rasterio

from stores.chunks import list_chunk_files
from stores.errors import CorruptError
from stores.files import read_json, sha256_of, write_json
from stores.forecast import Forecast
from stores.issue import FORECAST, MANIFEST, IssueKey

FileDigest = dict[str, Any]
"""``size`` [bytes] and ``sha256`` of one file."""


def list_files(folder: Path) -> list[str]:
    """List all files below a folder by their paths in it, sorted."""
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def digest_files(folder: Path, names: Iterable[str]) -> dict[str, FileDigest]:
    """Take size and digest of files below a folder."""
    return {
        name: {"size": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
        for name in names
    }


def write_manifest(
    stage: Path,
    key: IssueKey,
    *,
    revision: int,
    forecast: Forecast,
    files: Mapping[str, FileDigest],
) -> None:
    """Write ``manifest.json``; only its ``made`` and ``digest`` differ between equal issues."""
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
        "made": {"created": datetime.now(UTC).isoformat(timespec="seconds")} | _software(),
    }
    write_json(stage / MANIFEST, content | {"digest": _digest(content)})


def read_manifest(issue: Path) -> dict[str, Any]:
    """Read the manifest of an issue and prove that it is whole.

    Raises:
        CorruptError: it is missing, or not what was written.
    """
    try:
        content = dict(read_json(issue / MANIFEST))
        if content.pop("digest") == _digest(content):
            return content
        what = "does not match its own digest"
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"cannot be read ({error!r})"
    raise CorruptError(
        f"{issue / MANIFEST} {what}, so nothing proves what the issue held; move the folder "
        "away and publish the issue again"
    )


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _software() -> dict[str, str]:
    packages = {name: version(name) for name in ("cubecast", "numpy", "zarr", "rasterio")}
    return packages | {"gdal": rasterio.__gdal_version__, "python": platform.python_version()}
