"""A small file system in memory, to fill."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

LARGE = 256 << 20


@dataclass(frozen=True)
class SmallDisk:
    """A file system in memory whose size can be changed."""

    mount: Path

    def leave(self, n_bytes: int) -> None:
        """Let so many bytes be free."""
        used = shutil.disk_usage(self.mount).used
        self._resize(used + n_bytes)

    def grow(self) -> None:
        """Let there be room for everything."""
        self._resize(LARGE)

    def _resize(self, n_bytes: int) -> None:
        option = f"remount,size={max(4096, n_bytes)}"
        subprocess.run(["mount", "-o", option, str(self.mount)], check=True)
