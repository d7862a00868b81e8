"""Size and digest of files, each bound to its place in a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stores.files import sha256_of

FileDigest = dict[str, Any]
"""``size`` [bytes] and ``sha256`` of one file."""


def digest_files(folder: Path, names: Iterable[str]) -> dict[str, FileDigest]:
    """Take size and digest of files below a folder."""
    return {
        name: {"size": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
        for name in names
    }


def compare_file(path: Path, expected: FileDigest, *, sizes_only: bool = False) -> str:
    """Say what happened to a file since it was digested; nothing when it is as it was."""
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    if size != expected["size"]:
        return f"has {size} bytes instead of {expected['size']}"
    if sizes_only or (path.is_file() and sha256_of(path) == expected["sha256"]):
        return ""
    return "was altered"


def check_digests(written: Any) -> None:
    """Refuse what ``digest_files`` never gives, such as names that leave their folder.

    Raises:
        TypeError: it has another shape.
        ValueError: a name leads out of the folder.
    """
    for name, digest in dict(written).items():
        if not isinstance(digest, dict) or (
            type(digest.get("size")),
            type(digest.get("sha256")),
        ) != (int, str):
            raise TypeError(f"the digest of {name!r} is {digest!r:.60}")
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name!r} leads out of its folder")
