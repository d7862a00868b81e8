"""What tests of whole flows share: where things are, and flows that die on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

INIT = "2006-12"


def recipe_of(store: Path) -> str:
    """Name the recipe of a store."""
    return str(store / "recipe.yaml")


def tree(folder: Path) -> list[str]:
    """List all that lies in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def kill_forecast(store: Path, point: str, overrides: Sequence[str] = ()) -> int:
    """Forecast in another process, which dies at ``point``; return how it ended."""
    arguments = f"{recipe_of(store)!r}, {list(overrides)!r}, init={INIT!r}"
    script = f"from flows.forecast import forecast; forecast.fn({arguments})"
    environment = os.environ | {"CUBECAST_CRASH_AT": point}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    return done.returncode
