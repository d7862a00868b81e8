from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.errors import ArchiveError
from stores.file_patterns import group_files
from stores.times import Step
from tests.make import date_names

PATTERNS = (
    "rain_{time:%Y.%m}.tif",
    "rain/chirps-v2.0.{time:%Y%m}.tif",
    "{time:%Y_%m}_XGBOOST_XCO2.tif",
    "HM_{time:%Y}_300.tif",
    "{time:%Y%m%d%H%M}_FINUTM.tif",
    "{time:%Y}/t2m_{time:%m%d}T{time:%H}.tif",
)
FINEST = {"%M": "minute", "%H": "hour", "%d": "day", "%m": "month", "%Y": "year"}


def touch(root: Path, names: list[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_series_is_found_by_the_names_of_its_files(tmp_path: Path, pattern: str) -> None:
    unit = next(unit for end, unit in FINEST.items() if end in pattern)
    step = Step(5, "year") if unit == "year" else Step(1, unit)
    names = list(date_names(pattern, start="1999-01-31", n=40, step=str(step)))
    touch(tmp_path, [*names, "elevation.tif", "notes 2004.txt"])
    found = group_files(tmp_path)
    assert [one.files for one in found] == [pattern.replace("}T{time:", "T"), "elevation.tif"]
    assert found[0].names == tuple(names)
    assert found[0].step == step
    assert found[1].times == ()


@given(count=st.integers(1, 30), year=st.integers(1900, 2090))
def test_steps_of_several_months_are_told_by_the_dates(count: int, year: int) -> None:
    start = f"{year}-03"
    step = f"{count} months"
    with tempfile.TemporaryDirectory() as folder:
        touch(Path(folder), list(date_names("a_{time:%Y-%m}.tif", start=start, n=5, step=step)))
        (found,) = group_files(Path(folder))
    assert found.step is not None
    first, second = found.times[:2]
    assert found.step.add(first, 1) == second


def test_a_gap_is_no_other_step(tmp_path: Path) -> None:
    names = list(date_names("a_{time:%Y-%m}.tif", start="2003-01", n=30))
    touch(tmp_path, names[:11] + names[14:])
    (found,) = group_files(tmp_path)
    assert found.step == Step(1, "month")


def test_names_of_the_variables_are_words_of_the_files(tmp_path: Path) -> None:
    touch(tmp_path, ["rain/1999.tif", "rain/2000.tif", "DEM_30m.tif"])
    assert [one.suggested_name for one in group_files(tmp_path)] == ["rain", "dem_m"]


def test_a_folder_without_rasters_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, ["a.nc"])
    with pytest.raises(ArchiveError, match=r"holds no file that ends in \.tif"):
        group_files(tmp_path)
