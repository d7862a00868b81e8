from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from flows.check import check
from flows.init import describe_archive, init
from pipeline.recipes import load_recipe
from stores.errors import ArchiveError
from tests.make import GRID, make_archive, make_tiffs, write_tiff


def test_a_recipe_is_written_for_an_archive_and_passes_its_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_archive(tmp_path / "data")
    path = init("island", tmp_path / "data", tmp_path / "work", None)
    recipe = load_recipe(path)
    assert recipe.target.variable == "rain"
    assert recipe.archive.root == tmp_path / "data"
    assert recipe.root == tmp_path / "work/runs/island"
    check(str(path), [], None)
    said = capsys.readouterr().out
    assert "96" in said
    assert "nothing was written" in said
    assert not recipe.root.exists()


def test_an_archive_is_relative_where_it_moves_with_the_recipe_and_absolute_elsewhere(
    tmp_path: Path,
) -> None:
    make_tiffs(tmp_path / "work/data #1", n=24)
    for folder, written in (("work", "data #1"), ("elsewhere", str(tmp_path / "work/data #1"))):
        path = init("rain", tmp_path / "work/data #1", tmp_path / folder, None)
        assert f'root: "{written}"' in path.read_text()
        assert load_recipe(path).archive.root == tmp_path / "work/data #1"


def test_without_an_archive_the_sample_is_described(tmp_path: Path) -> None:
    recipe = load_recipe(init("first", None, tmp_path, None))
    assert str(recipe.step) == "month"
    assert list(recipe.archive.variables) == ["java_chirps_v", "elevation", "land"]


def test_few_epochs_are_split_by_place(tmp_path: Path) -> None:
    make_tiffs(tmp_path / "data", n=60, files="hm_{time:%Y}_300.tif", start="1900-01")
    assert len(list((tmp_path / "data").iterdir())) == 5
    recipe = load_recipe(init("hm", tmp_path / "data", tmp_path, None))
    assert recipe.split.place is not None
    assert recipe.rollout.history == 3


@pytest.mark.parametrize(("dtype", "n_hints"), [("int16", 1), ("float32", 0)])
def test_whole_numbers_may_be_classes_and_the_recipe_says_so(
    tmp_path: Path, dtype: str, n_hints: int
) -> None:
    make_tiffs(tmp_path / "data", n=24, dtype=dtype)
    path = init("rain", tmp_path / "data", tmp_path, None)
    assert path.read_text().count("# kind: classes") == n_hints


def test_missing_months_are_counted_in_the_recipe(tmp_path: Path) -> None:
    make_archive(tmp_path / "data")
    (tmp_path / "data/rain/rain_2003.05.tif").unlink()
    path = init("island", tmp_path / "data", tmp_path, None)
    assert "1 of 96 steps have no file" in path.read_text()
    assert load_recipe(path).archive.gaps == "accept"


def test_a_recipe_is_never_written_over(tmp_path: Path) -> None:
    make_archive(tmp_path / "data")
    path = init("island", tmp_path / "data", tmp_path, None)
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="nothing is written over it"):
        init("island", tmp_path / "data", tmp_path, None)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("archive", "target", "refusal"),
    [
        ("nowhere", None, "is no folder"),
        ("data", "snow", r"no series of 'snow' \(found: rain, basins, elevation, land\)"),
    ],
)
def test_what_cannot_be_described_is_refused_and_nothing_is_written(
    tmp_path: Path, archive: str, target: str | None, refusal: str
) -> None:
    make_archive(tmp_path / "data")
    with pytest.raises(ArchiveError, match=refusal):
        init("island", tmp_path / archive, tmp_path / "work", target)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(("n", "has_season"), [(24, True), (10, False)])
def test_a_season_is_an_input_where_the_archive_holds_one(
    tmp_path: Path, n: int, *, has_season: bool
) -> None:
    make_tiffs(tmp_path / "data", n=n)
    recipe = load_recipe(init("rain", tmp_path / "data", tmp_path, None))
    derived = [c.of for c in recipe.covariates if c.kind == "derived"]
    assert ("season" in derived) is has_season


@pytest.mark.parametrize(("n", "delay"), [(24, 0), (21, 3), (30, 0)])
def test_a_covariate_is_as_late_as_its_archive_shows(
    tmp_path: Path, n: int, delay: int
) -> None:
    make_tiffs(tmp_path / "data", n=24)
    make_tiffs(tmp_path / "data", n=n, files="ndvi/ndvi_{time:%Y%m}.tif")
    recipe = load_recipe(init("rain", tmp_path / "data", tmp_path, "rain"))
    (ndvi,) = (c for c in recipe.covariates if c.kind == "step")
    assert (ndvi.variable, ndvi.delay) == ("ndvi", delay)


@pytest.mark.parametrize(("dtype", "marker"), [("uint8", "255"), ("int16", "-9999")])
def test_the_hint_for_missing_pixels_fits_the_type(
    tmp_path: Path, dtype: str, marker: str
) -> None:
    for month in range(1, 13):
        values = np.ones((9, 9), dtype=dtype)
        grid = GeoBox((9, 9), GRID.affine, GRID.crs)
        write_tiff(tmp_path / f"data/rain_2000.{month:02}.tif", values, grid=grid)
    text = describe_archive("rain", tmp_path / "data", tmp_path, None)
    assert f"# nodata: {marker} " in text
