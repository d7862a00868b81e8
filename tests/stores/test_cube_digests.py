from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from stores.accept import accept
from stores.cube import Cube
from stores.cube_digests import DIGESTS_KEY, check_frames
from stores.errors import CorruptError
from stores.ingest import prepare_cube
from stores.scrub import Scrub
from stores.verify import verify
from tests.make import make_archive, make_tiffs
from tests.make_ingest import ELEVATION, RAIN, ingest_variables, make_plan, write_plan

MARCH = "rain/c/2/0/0"
MAY = "rain/c/4/0/0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    archive = make_archive(folder / "archive", n=5)
    ingest_variables(archive, folder / "run" / "cube.zarr", RAIN, ELEVATION)
    return folder


@pytest.fixture
def cube(made: Path, tmp_path: Path) -> Path:
    """Return a sound cube of five months in a store of its own, and their archive."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "run" / "cube.zarr"
    assert verify(path) == verify(path.parent) == []
    return path


def archive_of(cube: Path) -> Path:
    return cube.parents[1] / "archive"


def forget_digests(cube: Path) -> None:
    """Make a cube as it was before digests were kept."""
    root = json.loads((cube / "zarr.json").read_text())
    del root["attributes"][DIGESTS_KEY]
    (cube / "zarr.json").write_text(json.dumps(root))
    for record in cube.parent.glob("cube.inputs/*.digests.json"):
        record.unlink()


def grow(cube: Path, n: int = 7) -> Cube:
    make_tiffs(archive_of(cube), n=n)
    return ingest_variables(archive_of(cube), cube, RAIN, ELEVATION)


def test_a_chunk_at_the_place_of_another_month_is_named_with_its_own(cube: Path) -> None:
    shutil.copy(cube / MARCH, cube / MAY)
    (finding,) = verify(cube)
    assert finding.startswith(MAY)
    assert "of 'rain' (time 2000-05 y[0:23] x[0:31])" in finding
    assert finding.endswith(f"it holds what was ingested as {MARCH}")
    assert verify(cube.parent) == [f"cube.zarr: {finding}"]


def test_two_months_that_were_swapped_are_named(cube: Path) -> None:
    (cube / MARCH).rename(cube / "aside")
    (cube / MAY).rename(cube / MARCH)
    (cube / "aside").rename(cube / MAY)
    assert [finding.split()[0] for finding in verify(cube)] == [MARCH, MAY]


def test_what_is_read_is_proven_before(cube: Path) -> None:
    shutil.copy(cube / MARCH, cube / MAY)
    opened = Cube.open(cube)
    check_frames(cube, opened.frame_files("rain", opened.times[:4]), purpose="this forecast")
    with pytest.raises(CorruptError, match=rf"damaged where this forecast .*: {MAY} "):
        check_frames(cube, opened.frame_files("rain"), purpose="this forecast")


@pytest.mark.parametrize(
    ("name", "described"),
    [
        ("rain/c/1/0/0", "rain/c/1/0/0 is missing; shard|chunk"),
        ("elevation/c/0/0", "elevation/c/0/0 is missing"),
        ("time/c/0", "time was altered or is missing"),
        ("y/c/0", "y was altered or is missing"),
        ("rain/zarr.json", "rain/zarr.json was altered"),
        ("zarr.json", "nothing says what the cube holds"),
    ],
)
def test_what_is_missing_from_a_cube_is_named(cube: Path, name: str, described: str) -> None:
    (cube / name).unlink()
    findings = verify(cube)
    assert any(
        alternative in finding for finding in findings for alternative in described.split("|")
    )


def test_coordinates_and_metadata_of_something_else_are_named(cube: Path) -> None:
    shutil.copy(cube / "y/c/0", cube / "x/c/0")
    assert any(finding.startswith("x was altered") for finding in verify(cube))
    root = (cube / "zarr.json").read_text()
    (cube / "zarr.json").write_text(root.replace("mm month-1", "mm d-1"))
    (finding,) = verify(cube)
    assert "zarr.json was altered since the cube was committed" in finding
    with pytest.raises(CorruptError, match="was altered since the cube was committed"):
        grow(cube)


def test_a_record_that_is_gone_or_altered_is_named(cube: Path) -> None:
    (record,) = cube.parent.glob("cube.inputs/*.digests.json")
    record.write_text(record.read_text().replace("a", "b"))
    assert "does not hold the digests of cube.zarr" in verify(cube)[0]
    record.unlink()
    assert "does not hold the digests of cube.zarr" in verify(cube)[0]


def test_a_cube_that_grows_keeps_its_digests_and_reads_no_old_frame(cube: Path) -> None:
    shutil.copy(cube / MARCH, cube / MAY)
    grow(cube)
    (finding,) = verify(cube)
    assert finding.startswith(MAY)
    assert sorted(path.name.count(".") for path in (cube.parent / "cube.inputs").iterdir()) == [
        1,
        2,
    ]


def test_a_cube_whose_growth_was_cut_short_or_given_up_is_sound(cube: Path) -> None:
    make_tiffs(archive_of(cube), n=7)
    write_plan(make_plan(archive_of(cube), cube, RAIN, ELEVATION))
    assert verify(cube) == []
    for month in (6, 7):
        (archive_of(cube) / f"rain/rain_2000.0{month}.tif").unlink()
    prepare_cube(make_plan(archive_of(cube), cube, RAIN, ELEVATION))  # nothing is new
    assert verify(cube) == []
    assert len(grow(cube, 6).times) == 6
    assert verify(cube) == []


def test_altered_metadata_of_an_array_does_not_get_into_the_next_commit(cube: Path) -> None:
    metadata = cube / "elevation/zarr.json"
    metadata.write_text(metadata.read_text().replace('"NaN"', "0.0"))
    grow(cube)
    assert np.isnan(Cube.open(cube)._arrays["elevation"].fill_value)
    assert verify(cube) == []


def test_a_cube_from_before_digests_is_told_of_and_adopted_when_it_grows(
    cube: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forget_digests(cube)
    with caplog.at_level(logging.WARNING):
        assert verify(cube) == []
    assert "was ingested before digests of its frames were kept" in caplog.text
    opened = Cube.open(cube)
    check_frames(cube, opened.frame_files("rain"), purpose="this forecast")
    grow(cube)
    shutil.copy(cube / MARCH, cube / MAY)
    (finding,) = verify(cube)
    assert finding.startswith(MAY)


def test_a_damaged_cube_from_before_digests_is_not_adopted(cube: Path) -> None:
    forget_digests(cube)
    content = bytearray((cube / MAY).read_bytes())
    content[len(content) // 2] ^= 1
    (cube / MAY).write_bytes(content)
    assert any("its bytes were altered" in finding for finding in verify(cube))
    for adopt in (lambda: grow(cube), lambda: accept(cube.parent)):
        with pytest.raises(CorruptError, match="its bytes were altered"):
            adopt()


def test_a_cube_from_before_digests_is_adopted_by_a_command(cube: Path) -> None:
    forget_digests(cube)
    (message,) = accept(cube.parent)
    assert message.startswith("cube.zarr: all that it holds can be read")
    shutil.copy(cube / MARCH, cube / MAY)
    assert verify(cube) != []
    assert accept(cube.parent) == []
    assert verify(cube) != []


def test_a_sample_reads_some_files_and_misses_none(cube: Path) -> None:
    for file in (cube / "rain/c").glob("*/0/0"):
        file.write_bytes(bytes(file.stat().st_size))
    assert len(verify(cube)) == 5
    assert 0 < len(verify(cube, sample=0.5)) < 5
    (cube / MAY).unlink()
    assert any("is missing" in finding for finding in verify(cube, sample=0.01))


def test_a_scrub_says_how_far_it_is(cube: Path) -> None:
    described: list[tuple[int, int]] = []
    verify(cube, on_progress=lambda done, total, note="": described.append((done, total)))
    assert [done for done, _ in described] == list(range(1, 7))
    for sample in (0, -1, 1.1):
        with pytest.raises(ValueError, match="is no share of the files"):
            Scrub(sample)
