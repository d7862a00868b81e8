from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.archive import Pattern, SourceVariable, find_files
from stores.errors import ArchiveError
from stores.times import Step, parse_time

MONTH = Step.parse("month")


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def _found(root: Path, files: str, step: Step = MONTH) -> dict[str, str]:
    found = find_files(root, SourceVariable("v", files), step)
    return {file.name: str(file.time)[:16] for file in found}


def test_dates_are_read_from_names_and_floored_to_the_step(tmp_path: Path) -> None:
    _touch(tmp_path, "rain/a-v2.0.2003.02.tif", "rain/a-v2.0.2003.01.tif")
    assert _found(tmp_path, "rain/a-v2.0.{time:%Y.%m}.tif") == {
        "rain/a-v2.0.2003.01.tif": "2003-01-01T00:00",
        "rain/a-v2.0.2003.02.tif": "2003-02-01T00:00",
    }


def test_a_dot_in_a_pattern_is_a_dot(tmp_path: Path) -> None:
    _touch(tmp_path, "av2x0.2003.tif", "av2.0.2003.tif")
    assert list(_found(tmp_path, "av2.0.{time:%Y}.tif")) == ["av2.0.2003.tif"]


@given(st.text(st.sampled_from("a.+()[]^$|%{}"), min_size=1, max_size=8))
def test_every_character_but_the_wildcards_is_literal(text: str) -> None:
    if text in {".", ".."}:
        return
    with tempfile.TemporaryDirectory() as folder:
        _touch(Path(folder), text, f"{text}x", f"a{text}")
        assert list(_found(Path(folder), text)) == [text]


def test_wildcards_stay_inside_a_folder_and_skip_hidden_files(tmp_path: Path) -> None:
    _touch(tmp_path, "a/x1.tif", "a/x22.tif", "a/b/x3.tif", "a/.x4.tif", ".hid/x5.tif")
    assert list(_found(tmp_path, "a/x*.tif")) == ["a/x1.tif", "a/x22.tif"]
    assert list(_found(tmp_path, "a/x?.tif")) == ["a/x1.tif"]
    assert list(_found(tmp_path, "*/*.tif")) == ["a/x1.tif", "a/x22.tif"]


def test_a_year_that_stands_twice_has_to_agree(tmp_path: Path) -> None:
    _touch(tmp_path, "2003/r_200301.tif", "2004/r_200301.tif")
    assert list(_found(tmp_path, "{time:%Y}/r_{time:%Y%m}.tif")) == ["2003/r_200301.tif"]


def test_a_name_whose_digits_are_no_date_is_kept_with_its_error(tmp_path: Path) -> None:
    _touch(tmp_path, "r_2003.13.tif")
    (file,) = find_files(tmp_path, SourceVariable("v", "r_{time:%Y.%m}.tif"), MONTH)
    assert file.time is None
    assert file.error == "'2003 13' (%Y %m) is no date"


@pytest.mark.parametrize(
    ("files", "step", "cadence"),
    [
        ("a.tif", "month", "static"),
        ("a_*.tif", "month", "static"),
        ("a_{time:%Y}.tif", "month", "annual"),
        ("a_{time:%Y}.tif", "5 years", "step"),
        ("a_{time:%Y}.tif", "12 hours", "annual"),
        ("a_{time:%Y%m}.tif", "month", "step"),
        ("a_{time:%Y%m%d}.tif", "month", "step"),
        ("a_{time:%Y%j}.tif", "day", "step"),
        ("a_{time:%Y%m%d%H%M}.tif", "5 minutes", "step"),
    ],
)
def test_the_cadence_follows_from_pattern_and_step(files: str, step: str, cadence: str) -> None:
    assert Pattern(files).cadence(Step.parse(step)) == cadence


def test_dates_coarser_than_the_step_are_refused() -> None:
    with pytest.raises(ArchiveError, match="more coarsely than a day"):
        Pattern("a_{time:%Y%m}.tif").cadence(Step.parse("day"))


@pytest.mark.parametrize(
    "files", ["/etc/*.tif", "../a.tif", "a/../../b.tif", "~/a.tif", "a\\b"]
)
def test_a_pattern_that_leaves_the_archive_is_refused(files: str) -> None:
    with pytest.raises(ArchiveError, match="leads out of the archive"):
        Pattern(files)


def test_a_date_code_that_is_not_understood_is_named() -> None:
    with pytest.raises(ArchiveError, match=r"dates files by %I, .*use %Y, %y, .* %S$"):
        Pattern("a_{time:%Y%m%d%I%p}.tif")


@pytest.mark.parametrize(
    ("files", "finest", "missing"),
    [
        ("{time:%m%d}", "day", "year"),
        ("{time:%Y%H}", "hour", "month"),
        ("{time:%Y%j%M}", "minute", "hour"),
    ],
)
def test_a_date_without_a_coarser_unit_is_refused(
    files: str, finest: str, missing: str
) -> None:
    with pytest.raises(ArchiveError, match=f"by {finest} but not by {missing}"):
        Pattern(f"{files}.tif")


@pytest.mark.parametrize(
    "files",
    [
        "{time:%Y%m%d%H%M%S}.tif",
        "{time:%Y/%m/%d/%H%M%S}.tif",
        "{time:%Y}/r_{time:%j}_{time:%H-%M-%S}.tif",
        "{time:%d%b%y}/{time:%H%M}.{time:%S}.tif",
        "{time:%B_%d_%Y}T{time:%H.%M.%S}.tif",
    ],
)
@pytest.mark.parametrize(
    "date", ["2019-06-10T00:04:07", "1969-12-31T23:59:59", "2000-02-29T12:00:00"]
)
def test_every_date_code_reads_back_what_strftime_wrote(
    files: str, date: str, tmp_path: Path
) -> None:
    time = parse_time(date)
    _touch(tmp_path, files.format(time=time.item()))
    (file,) = find_files(tmp_path, SourceVariable("v", files), Step.parse("second"))
    assert (file.time, file.error) == (time, None)


def test_sub_monthly_names_fall_on_their_hours(tmp_path: Path) -> None:
    _touch(tmp_path, "r_200301021230.tif")
    (file,) = find_files(
        tmp_path, SourceVariable("v", "r_{time:%Y%m%d%H%M}.tif"), Step.parse("12 hours")
    )
    assert file.time == parse_time("2003-01-02T12")
    assert isinstance(file.time, np.datetime64)
