"""A ledger of what is done, so that a rerun resumes: one small file per entry, never half."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stores.files import read_json, write_json

logger = logging.getLogger(__name__)

_MAX_NAME_BYTES = 200  # file systems take names of 255 bytes, and the temporary name needs some


class Ledger:
    """Keys that are done and their receipts; many processes may mark at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def done_keys(self) -> set[str]:
        """List the keys that are marked."""
        return set(self.receipts())

    def mark(self, key: str, receipt: Mapping[str, Any]) -> None:
        """Write down that ``key`` is done; the same key again replaces its receipt."""
        write_json(self._path(key), {"key": key, "receipt": dict(receipt)})

    def receipt(self, key: str) -> dict[str, Any] | None:
        """Return the receipt of ``key``, or None while it is not done."""
        found = _read_entry(self._path(key))
        return None if found is None else found[1]

    def receipts(self) -> dict[str, dict[str, Any]]:
        """Return all receipts by key, sorted by key."""
        entries = [_read_entry(path) for path in self.folder.glob("*.json")]
        return dict(sorted((e for e in entries if e is not None), key=lambda entry: entry[0]))

    def _path(self, key: str) -> Path:
        # A dot is quoted too: '..' and names that hide must not come out of a key.
        name = quote(key, safe="").replace(".", "%2E")
        if not key or len(name) > _MAX_NAME_BYTES:
            raise ValueError(
                f"ledger key {key!r} takes {len(name)} bytes as a file name, so it cannot be "
                f"written down; keep keys between 1 and {_MAX_NAME_BYTES} bytes"
            )
        return self.folder / f"{name}.json"


def _read_entry(path: Path) -> tuple[str, dict[str, Any]] | None:
    """Read one entry; what is damaged is not done, so that it is done again."""
    try:
        written = read_json(path)
        return str(written["key"]), dict(written["receipt"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        logger.warning("%s is damaged (%r), so what it says is done again", path, error)
        return None
