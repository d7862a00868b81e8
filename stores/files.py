"""Files that are there whole or not at all, even after a power cut."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stores.disk_space import reraise_disk_full

MAX_JSON_BYTES = 1 << 27  # digests of a million files take as much
_TEMP_PATTERNS = (".*.tmp", "*.partial")  # of ours, and of Zarr


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which takes its place when the body succeeds."""
    with reraise_disk_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(fd)
    temp_path = Path(name)
    try:
        with reraise_disk_full(path):  # while what was written still fills the disk
            yield temp_path
            temp_path.chmod(0o644)  # mkstemp's 0600 would hide the file from other readers
            fsync_path(temp_path)
            temp_path.replace(path)
    except BaseException:
        temp_path.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a small file in one rename."""
    with atomic_write(path) as temp_path:
        temp_path.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file in one rename."""
    with atomic_write(path) as temp_path:
        temp_path.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one rename."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Lay JSON out for files that people read too: a line for each value, keys sorted."""
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def read_json(path: Path) -> Any:
    """Read JSON that ``write_json`` wrote.

    Raises:
        ValueError: it is none, is nested beyond reason, or is larger than anything of ours.
    """
    n_bytes = path.stat().st_size
    if n_bytes > MAX_JSON_BYTES:
        raise ValueError(
            f"{path} has {n_bytes} bytes and files like it at most {MAX_JSON_BYTES}, so it is "
            "not read; restore it from a copy"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply to be read") from None


def why_unreadable(error: Exception) -> str:
    """Describe why a file of ours cannot be read."""
    match error:
        case FileNotFoundError():
            return "it is missing"
        case json.JSONDecodeError():
            return f"it is no JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        case UnicodeDecodeError():
            return f"it is no text at byte {error.start}"
        case KeyError():
            return f"it has no {error}"
        case _:
            return f"{error}"[:300]


def fsync_path(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sha256_file(path: Path) -> str:
    """Digest a file's bytes, in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_temp_files(folder: Path) -> None:
    """Remove what writers that were killed have left below a folder."""
    for pattern in _TEMP_PATTERNS:
        for path in folder.rglob(pattern):
            path.unlink(missing_ok=True)
