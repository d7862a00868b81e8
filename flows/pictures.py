"""Draw what was published: for slides and for people without a GIS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.console import console
from pipeline.rollout.pictures import Pictures, write_pictures
from stores.counting import listed
from stores.cube import CUBE, Cube
from stores.cube_digests import check_frames
from stores.errors import CorruptError
from stores.forecast import open_forecast
from stores.issue import FORECAST, MANIFEST
from stores.manifest import compare_files, read_manifest
from stores.scrub import Scrub


def draw(issues: Sequence[Path], out: Path | None, dpi: int) -> None:
    """Draw published issues, each into a folder of its own.

    Raises:
        CorruptError: a folder is no issue, or the cube that it was made from is gone.
    """
    for issue in issues:
        path = issue.resolve()
        _check_sound(path)
        root = _root_of(path)
        pictures = Pictures(open_forecast(path / FORECAST), Cube.open(root / CUBE), dpi)
        check_frames(root / CUBE, pictures.list_read(), why="a picture")
        folder = (out or root / "pictures" / path.parent.name) / path.name
        for path in write_pictures(pictures, folder):
            console.print(f"  {path}", markup=False, highlight=False, soft_wrap=True)


def _check_sound(issue: Path) -> None:
    """Refuse to draw what is not what was published.

    Raises:
        CorruptError: names what is missing or altered.
    """
    if not (issue / FORECAST).exists() and not (issue / MANIFEST).exists():
        raise CorruptError(
            f"{issue} holds no issue, so there is nothing to draw; name a folder that does"
        )
    manifest = read_manifest(issue)
    found = compare_files(issue, manifest, Scrub())
    if found:
        said = [f"{name} {what}" for name, what in found.items()]
        raise CorruptError(
            f"{issue} is damaged ({listed(said)}), so pictures of it would show what was never "
            f"forecast; restore it from a copy; 'cubecast verify {issue}' names all of it"
        )


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
