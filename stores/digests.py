"""Digests of files, each bound to its path in a folder, and of what JSON can say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stores.files import sha256_file

FileDigest = dict[str, Any]
"""``size`` [bytes] and ``sha256`` of one file."""


def canonical_json(content: Any) -> bytes:
    """Write what is plain JSON as its digests take it: sorted, on one line, in ASCII.

    Equal contents give equal bytes. These never change, for digests that follow from them are
    in every store: names of bundles and issues, versions of cubes, seals of registers. Files
    that people read are laid out by ``files.json_text`` instead.
    """
    return json.dumps(content, sort_keys=True).encode()


def digest_json(content: Any, *, after: str = "") -> str:
    """Digest what is plain JSON in 64 hexadecimal digits.

    Args:
        content: equal ones have equal digests.
        after: what stands before it, such as the seal that it continues.
    """
    return hashlib.sha256(after.encode() + canonical_json(content)).hexdigest()


def digest_files(folder: Path, names: Iterable[str]) -> dict[str, FileDigest]:
    """Compute size and digest of files below a folder, by name."""
    return {
        name: {"size": (folder / name).stat().st_size, "sha256": sha256_file(folder / name)}
        for name in names
    }


def compare_file(path: Path, expected: FileDigest, *, sizes_only: bool = False) -> str:
    """Describe what happened to a file since it was digested; empty when nothing did."""
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    if size != expected["size"]:
        return f"has {size} bytes instead of {expected['size']}"
    if sizes_only or (path.is_file() and sha256_file(path) == expected["sha256"]):
        return ""
    return "was altered"


def check_digest_record(written: Any) -> None:
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
