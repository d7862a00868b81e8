from __future__ import annotations

import json
from pathlib import Path

import pytest

from stores.verify import verify
from tests.make_issue import make_bundle, make_issue

CHUNK = "forecast.zarr/rain/c/1/0/1"


@pytest.fixture
def issue(tmp_path: Path) -> Path:
    path = make_issue(tmp_path).path
    assert verify(path) == []
    return path


def flip_byte(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("at", [0.0, 0.4, 0.8])
def test_one_flipped_byte_names_the_chunk_with_its_time_and_pixels(
    at: float, issue: Path
) -> None:
    flip_byte(issue / CHUNK, at)
    (finding,) = verify(issue)
    assert finding.startswith(f"{CHUNK} was altered; shard (1, 0, 1) of 'rain'")
    assert "(time 2018-02 y[0:16] x[16:31])" in finding
    assert finding.count("; chunk (1, ") == 1


def test_a_flip_in_the_index_of_a_shard_is_found(issue: Path) -> None:
    flip_byte(issue / CHUNK, 0.999)
    (finding,) = verify(issue)
    assert finding.startswith(f"{CHUNK} was altered; shard (1, 0, 1)")


def test_a_deleted_chunk_is_named_with_its_time_and_pixels(issue: Path) -> None:
    (issue / CHUNK).unlink()
    where = "shard (1, 0, 1) of 'rain' (time 2018-02 y[0:16] x[16:31])"
    assert verify(issue) == [f"{CHUNK} is missing; {where}"]


def test_a_chunk_that_was_cut_short_is_named(issue: Path) -> None:
    content = (issue / CHUNK).read_bytes()
    (issue / CHUNK).write_bytes(content[:-7])
    (finding,) = verify(issue)
    assert finding.startswith(f"{CHUNK} has {len(content) - 7} bytes instead of {len(content)}")
    assert "time 2018-02" in finding


def test_a_deleted_chunk_is_named_even_when_the_manifest_forgot_it(issue: Path) -> None:
    manifest = json.loads((issue / "manifest.json").read_text())
    del manifest["files"][CHUNK]
    (issue / "manifest.json").write_text(json.dumps(manifest))
    (issue / CHUNK).unlink()
    findings = verify(issue)
    assert any("does not match its own digest" in finding for finding in findings)
    assert any(CHUNK in finding and "is missing" in finding for finding in findings)


def test_a_deleted_coordinate_is_named(issue: Path) -> None:
    (issue / "forecast.zarr/time/c/0").unlink()
    (finding,) = verify(issue)
    assert finding.startswith("forecast.zarr/time/c/0 is missing; chunk (0) of 'time'")


def test_a_deleted_chunk_of_the_domain_is_named(issue: Path) -> None:
    (issue / "forecast.zarr/domain/c/0/0").unlink()
    (finding,) = verify(issue)
    assert "shard (0, 0) of 'domain' (y[0:16] x[0:16])" in finding


def test_a_deleted_root_metadata_is_named(issue: Path) -> None:
    (issue / "forecast.zarr/zarr.json").unlink()
    (issue / CHUNK).unlink()
    findings = verify(issue)
    assert "forecast.zarr/zarr.json is missing" in findings
    assert f"{CHUNK} is missing; chunk (1, 0, 1) of 'rain'" in findings
    assert any("holds no finished Zarr group" in finding for finding in findings)


def test_deleted_metadata_of_an_array_is_named(issue: Path) -> None:
    (issue / "forecast.zarr/rain/zarr.json").unlink()
    assert "forecast.zarr/rain/zarr.json is missing" in verify(issue)


def test_a_truncated_cog_is_named_once(issue: Path) -> None:
    cog = issue / "cog/rain_2018-02.tif"
    size = cog.stat().st_size
    cog.write_bytes(cog.read_bytes()[:-100])
    assert verify(issue) == [f"cog/rain_2018-02.tif has {size - 100} bytes instead of {size}"]


def test_a_deleted_cog_and_a_strange_file_are_named(issue: Path) -> None:
    (issue / "cog/rain_2018-02.tif").unlink()
    (issue / "cog/snow.tif").write_bytes(b"")
    assert verify(issue) == [
        "cog/rain_2018-02.tif is missing",
        "cog/snow.tif was never published",
    ]


def test_a_deleted_manifest_is_named_and_the_rest_is_still_checked(issue: Path) -> None:
    (issue / "manifest.json").unlink()
    (issue / CHUNK).unlink()
    manifest, chunk = verify(issue)
    assert "manifest.json cannot be read" in manifest
    assert chunk.startswith(f"{CHUNK} is missing: shard (1, 0, 1) of 'rain'")


def test_an_altered_report_is_named(issue: Path) -> None:
    flip_byte(issue / "report.html", 0.5)
    assert verify(issue) == ["report.html was altered"]


def test_a_damaged_chunk_without_a_manifest_is_named_by_reading(issue: Path) -> None:
    (issue / "manifest.json").unlink()
    flip_byte(issue / CHUNK, 0.4)
    assert f"{CHUNK} cannot be read: shard (1, 0, 1) of 'rain'" in verify(issue)[1]


def test_a_store_names_the_issue_the_bundle_and_the_catalog(tmp_path: Path) -> None:
    issue = make_issue(tmp_path).path
    bundle = make_bundle(tmp_path / "models").path
    assert verify(tmp_path) == []
    (issue / CHUNK).unlink()
    flip_byte(bundle / "model.safetensors", 0.9)
    (tmp_path / "catalog.json").write_text("{}")
    catalog, chunk, weights = verify(tmp_path)
    assert catalog.startswith("catalog.json does not say what issues/ holds")
    assert chunk.startswith(f"issues/rain/2017-12: {CHUNK} is missing")
    assert weights == f"models/{bundle.name}: model.safetensors was altered"


def test_a_folder_of_something_else_is_told_so(tmp_path: Path) -> None:
    (finding,) = verify(tmp_path)
    assert "neither an issue nor a bundle nor a store" in finding
