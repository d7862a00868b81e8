"""What verify advises fits what is damaged, and an ingest sees damage where that is cheap."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.ingest import ingest
from flows.verify import verify
from stores.bundle import BUNDLE
from stores.cube import CUBE, Cube
from stores.errors import CorruptError
from tests.make import make_archive, make_recipe
from tests.make_ingest import RAIN, ingest_variables
from tests.make_issue import make_bundle, make_issue

FRAME = "cube.zarr/rain/c/2/0/0"
INGEST, FORECAST, TRAIN = "ingest again", "cubecast forecast", "cubecast train"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store with a cube, an issue and a bundle."""
    folder = tmp_path_factory.mktemp("made")
    root = folder / "run"
    ingest_variables(make_archive(folder / "archive", n=5), root / CUBE, RAIN)
    make_issue(root)
    make_bundle(root / "models")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rename(path: Path) -> None:
    path.rename(path.with_name("2001-01"))


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "cube": (lambda root: flip(root / FRAME), {INGEST}),
    "issue": (lambda root: flip(root / "issues/rain/2017-12/report.html"), {FORECAST}),
    "bundle": (lambda root: next(root.glob(f"models/*/{BUNDLE}")).unlink(), {TRAIN}),
    "name": (lambda root: rename(root / "issues/rain/2017-12"), set()),
    "register": (lambda root: (root / ".register.jsonl").unlink(), set()),
    "no store": (empty, set()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_last_lines_say_what_mends_that_which_is_damaged(
    root: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    harm, expected = DAMAGES[damage]
    harm(root)
    assert not verify([root])
    said = capsys.readouterr().out.splitlines()
    advice = [line for line in said if line.startswith("a damaged ")]
    assert {way for way in (INGEST, FORECAST, TRAIN) if way in "".join(advice)} == expected
    assert len(advice) == len(expected)


def test_an_ingest_does_not_call_a_cube_current_that_lacks_a_frame(tmp_path: Path) -> None:
    recipe, root = str(make_recipe(tmp_path)), tmp_path / "run"
    version = ingest.fn(recipe)
    (root / FRAME).unlink()
    with pytest.raises(CorruptError, match=r"rain/c/2/0/0 is missing.*mv .*ingest again"):
        ingest.fn(recipe)
    (root / CUBE).rename(root / "cube-damaged.zarr")
    assert ingest.fn(recipe) == version == Cube.open(root / CUBE).version
    assert verify([root])
    shutil.rmtree(root / "cube.inputs")
    assert not verify([root])
    (root / CUBE).rename(root / "cube-damaged-again.zarr")
    assert ingest.fn(recipe) == version
    assert verify([root])


def test_what_is_not_there_is_not_verified(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere does not exist, so nothing was verified"):
        verify([tmp_path / "nowhere"])
