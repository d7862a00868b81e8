"""Draw what was published: for slides and for people without a GIS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.asked import CUBE
from flows.console import console
from pipeline.rollout.pictures import Pictures, write_pictures
from stores.cube import Cube
from stores.errors import CorruptError
from stores.forecast import open_forecast
from stores.issue import FORECAST


def draw(issues: Sequence[Path], out: Path | None, dpi: int) -> None:
    """Draw published issues, each into a folder of its own.

    Raises:
        CorruptError: a folder is no issue, or the cube that it was made from is gone.
    """
    for issue in issues:
        opened, path = open_forecast(issue / FORECAST), issue.resolve()
        root = _root_of(path)
        folder = (out or root / "pictures" / path.parent.name) / path.name
        for path in write_pictures(Pictures(opened, Cube.open(root / CUBE), dpi), folder):
            console.print(f"  {path}", markup=False, highlight=False, soft_wrap=True)


def _root_of(issue: Path) -> Path:
    """Find the folder in which both the issue and its cube lie.

    Raises:
        CorruptError: no folder above the issue holds a cube.
    """
    for folder in issue.parents:
        if (folder / CUBE).exists():
            return folder
    raise CorruptError(
        f"no folder above {issue} holds {CUBE}, so neither the last input nor the truth can be "
        "drawn; name an issue where it was published"
    )
