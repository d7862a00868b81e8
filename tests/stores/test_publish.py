from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stores.clean import clean
from stores.errors import CorruptError, FencedError
from stores.forecast import write_domain, write_forecast
from stores.lease import lease
from stores.manifest import list_files
from stores.publish import find_published, publish_issue
from stores.published import find_issue, published_issues
from stores.retention import RetentionPolicy
from stores.verify import verify
from stores.windows import Window
from tests.make_issue import (
    SHAPE,
    make_issue,
    make_key,
    make_stage,
    make_values,
)

ROOM = Path(__file__).parents[2]
ISSUE = """
import sys
from pathlib import Path
from tests.make_issue import make_issue, make_key
done = make_issue(Path(sys.argv[1]), make_key(init=sys.argv[2]))
print(done.path.name, done.is_new)
"""
CATALOGUED = ("publish.rest", "discard.rename")  # the issue is visible, and so found
POINTS = sorted(
    point
    for file in (ROOM / "stores").glob("*.py")
    for point in re.findall(
        r'crash_point\("((?:forecast|cog|publish|discard)\.\w+)"\)', file.read_text()
    )
)


def start_issue(root: Path, init: str, crash_at: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ISSUE, str(root), init],
        cwd=ROOM,
        env=os.environ | {"CUBECAST_CRASH_AT": crash_at},
        stdout=subprocess.PIPE,
        text=True,
    )


def read_latest(root: Path) -> str:
    """Follow the catalog as a reader does, and read the forecast it leads to."""
    catalog = json.loads((root / "catalog.json").read_text())
    (latest,) = (link["href"] for link in catalog["links"] if link["rel"] == "latest")
    with xr.open_zarr((root / latest).parent / "forecast.zarr") as forecast:
        np.testing.assert_array_equal(forecast.rain.values, make_values())
        recipe, issue = catalog["cubecast:latest"]["rain"].split("/")
        assert latest == f"./issues/{recipe}/{issue}/item.json"
        return str(issue)


def digests(root: Path) -> dict[str, str]:
    """Digest all that readers see; manifests without the time and hand that made them."""
    files = {}
    for name in list_files(root):
        if name.startswith("."):
            continue
        content = (root / name).read_bytes()
        if name.endswith("manifest.json"):
            manifest = json.loads(content)
            del manifest["made"], manifest["digest"]
            content = json.dumps(manifest).encode()
        files[name] = hashlib.sha256(content).hexdigest()
    return files


def test_an_issue_is_published_whole_and_its_stage_is_gone(tmp_path: Path) -> None:
    done = make_issue(tmp_path)
    assert done.path == tmp_path / "issues/rain/2017-12"
    assert (done.revision, done.is_new) == (1, True)
    assert list((tmp_path / ".staging").iterdir()) == []
    assert not [name for name in list_files(done.path) if name.startswith(".")]
    assert verify(done.path) == []
    assert verify(tmp_path) == []
    assert read_latest(tmp_path) == "2017-12"
    found = find_issue(tmp_path, make_key())
    assert found is not None
    assert found.path == done.path


def test_the_same_request_publishes_once(tmp_path: Path) -> None:
    first = make_issue(tmp_path)
    before = digests(tmp_path)
    with lease(tmp_path, make_key().lease_name, wait_s=0) as held:
        stage = make_stage(tmp_path, make_key())
        again = publish_issue(tmp_path, stage, make_key(), held)
    assert (again.path, again.revision, again.is_new) == (first.path, 1, False)
    assert not stage.exists()
    assert digests(tmp_path) == before


def test_another_bundle_becomes_a_revision_beside_the_first(tmp_path: Path) -> None:
    first = make_issue(tmp_path)
    before = digests(first.path)
    second = make_issue(tmp_path, make_key(bundle="b2"))
    third = make_issue(tmp_path, make_key(bundle="b3"))
    assert [second.path.name, third.path.name] == ["2017-12.r2", "2017-12.r3"]
    assert digests(first.path) == before
    assert read_latest(tmp_path) == "2017-12.r3"
    links = json.loads((tmp_path / "issues/rain/catalog.json").read_text())["links"]
    items = {link["title"]: link.get("deprecated", False) for link in links if "title" in link}
    assert items == {"2017-12": True, "2017-12.r2": True, "2017-12.r3": False}
    item = json.loads((third.path / "item.json").read_text())
    assert {link["rel"]: link["href"] for link in item["links"]}["predecessor-version"] == (
        "../2017-12.r2/item.json"
    )
    assert verify(tmp_path) == []


def test_a_request_published_before_a_revision_is_found_again(tmp_path: Path) -> None:
    make_issue(tmp_path)
    make_issue(tmp_path, make_key(bundle="b2"))
    again = make_issue(tmp_path)
    assert (again.path.name, again.is_new) == ("2017-12", False)
    assert read_latest(tmp_path) == "2017-12.r2"


def test_the_latest_is_the_newest_init_whatever_was_published_last(tmp_path: Path) -> None:
    make_issue(tmp_path, make_key(init="2018-01"))
    make_issue(tmp_path, make_key(init="2017-12"))
    assert read_latest(tmp_path) == "2018-01"
    issues = published_issues(tmp_path)["rain"]
    assert [issue.key.init for issue in issues] == ["2017-12", "2018-01"]


def test_publication_has_points_to_crash_at() -> None:
    assert {"publish.rename", "publish.catalog", "publish.manifest"} < set(POINTS)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("undisturbed")
    make_issue(root, make_key(init="2017-11"))
    make_issue(root)
    return digests(root)


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_between_two_writes_shows_the_old_state_and_a_rerun_ends_the_same(
    point: str, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    make_issue(tmp_path, make_key(init="2017-11"))
    before = digests(tmp_path)
    crashed = start_issue(tmp_path, "2017-12", crash_at=point)
    crashed.communicate(timeout=60)
    assert crashed.returncode == -signal.SIGKILL
    after = digests(tmp_path)
    issues = [name for name in before if not name.endswith("catalog.json")]
    assert {name: after[name] for name in issues} == {name: before[name] for name in issues}
    assert read_latest(tmp_path) == ("2017-12" if point in CATALOGUED else "2017-11")
    is_visible = point in ("publish.enter", "publish.catalog", *CATALOGUED)
    if not is_visible:
        assert after == before
    rerun = make_issue(tmp_path)
    assert rerun.is_new == (not is_visible)
    assert digests(tmp_path) == undisturbed
    assert verify(tmp_path) == []
    assert list((tmp_path / ".staging").iterdir()) == []


def test_cleaning_finishes_a_catalog_that_a_crash_left_behind(tmp_path: Path) -> None:
    start_issue(tmp_path, "2017-12", crash_at="publish.catalog").communicate(timeout=60)
    assert not (tmp_path / "catalog.json").exists()
    clean(tmp_path, RetentionPolicy())
    assert read_latest(tmp_path) == "2017-12"


def test_two_processes_at_once_publish_one_issue(tmp_path: Path) -> None:
    runs = [start_issue(tmp_path, "2017-12") for _ in range(2)]
    lines = sorted(run.communicate(timeout=60)[0].strip() for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert lines == ["2017-12 False", "2017-12 True"]
    assert [path.name for path in (tmp_path / "issues/rain").glob("*/")] == ["2017-12"]
    assert verify(tmp_path) == []


def test_a_run_that_lost_its_lease_cannot_publish(tmp_path: Path) -> None:
    key = make_key()
    with lease(tmp_path, key.lease_name, wait_s=0) as zombie:
        stage = make_stage(tmp_path, key)
        zombie.path.unlink()
        with (
            lease(tmp_path, key.lease_name, wait_s=0),
            pytest.raises(FencedError, match="may already have published"),
        ):
            publish_issue(tmp_path, stage, key, zombie)
    assert not (tmp_path / "issues").exists()


def test_a_lease_of_another_issue_does_not_publish(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, make_key())
    with (
        lease(tmp_path, "rain", wait_s=0) as held,
        pytest.raises(ValueError, match="does not guard this issue"),
    ):
        publish_issue(tmp_path, stage, make_key(), held)


def refuse(root: Path, stage: Path) -> str:
    with (
        lease(root, make_key().lease_name, wait_s=0) as held,
        pytest.raises(CorruptError) as caught,
    ):
        publish_issue(root, stage, make_key(), held)
    assert not (root / "issues").exists()
    assert not (root / "catalog.json").exists()
    return str(caught.value)


def test_a_chunk_that_was_never_written_stops_publication(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, make_key())
    (stage / "forecast.zarr/rain/c/1/0/1").unlink()
    message = refuse(tmp_path, stage)
    assert "forecast.zarr/rain/c/1/0/1 is missing: shard (1, 0, 1) of 'rain'" in message
    assert "time 2018-02 y[0:16] x[16:31]" in message


def test_a_value_that_is_not_finite_in_the_domain_stops_publication(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, make_key())
    values = make_values()
    values[2, 7, 9] = np.inf
    write_forecast(stage, "rain", Window(0, 16, 0, 16), values[:, :16, :16])
    message = refuse(tmp_path, stage)
    assert "'rain' at 2018-03 has no finite value in the domain in 1 px" in message
    assert "the first at y=7 x=9" in message


def test_a_value_outside_the_domain_stops_publication(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, make_key())
    values = make_values()
    values[0, 0, 0] = 1
    write_forecast(stage, "rain", Window(0, 16, 0, 16), values[:, :16, :16])
    assert "'rain' at 2018-01 has values outside the domain in 1 px" in refuse(tmp_path, stage)


def test_a_cog_that_differs_from_the_store_stops_publication(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, make_key())
    values = make_values(seed=1)
    write_forecast(stage, "rain", Window(0, 16, 0, 16), values[:, :16, :16])
    assert "cog/rain_2018-01.tif differs from the Zarr store" in refuse(tmp_path, stage)


def test_a_truncated_cog_stops_publication(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, make_key())
    cog = stage / "cog/rain_2018-02.tif"
    cog.write_bytes(cog.read_bytes()[:-40])
    assert "rain_2018-02.tif is not a valid COG" in refuse(tmp_path, stage)


def test_a_forecast_without_cogs_is_published_too(tmp_path: Path) -> None:
    key = make_key()
    with lease(tmp_path, key.lease_name, wait_s=0) as held:
        stage = make_stage(tmp_path, key)
        for path in (stage / "cog").iterdir():
            path.unlink()
        (stage / "cog").rmdir()
        done = publish_issue(tmp_path, stage, key, held)
    assert verify(done.path) == []


def test_litter_and_notes_of_the_run_are_not_published(tmp_path: Path) -> None:
    key = make_key()
    with lease(tmp_path, key.lease_name, wait_s=0) as held:
        stage = make_stage(tmp_path, key)
        (stage.parent / "ledger").mkdir()
        (stage.parent / "ledger" / "tiles.json").write_text("{}")
        (stage / "forecast.zarr/rain/c/0/0/1.abc.partial").write_bytes(b"half")
        (stage / "cog/.rain_2018-01.tif.abc.tmp").write_bytes(b"half")
        done = publish_issue(tmp_path, stage, key, held)
    assert not [name for name in list_files(done.path) if "abc" in name or "ledger" in name]
    assert list((tmp_path / ".staging").iterdir()) == []
    assert verify(done.path) == []


def test_a_damaged_issue_is_left_out_and_never_overwritten(tmp_path: Path) -> None:
    damaged = make_issue(tmp_path).path
    (damaged / "manifest.json").write_text("{}")
    again = make_issue(tmp_path)
    assert (again.path.name, again.is_new) == ("2017-12.r2", True)
    assert read_latest(tmp_path) == "2017-12.r2"
    assert find_published(tmp_path, make_key()) is not None


def test_every_byte_is_on_the_disk_before_the_issue_becomes_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[Path, bool] = {}
    visible = tmp_path / "issues/rain/2017-12"
    monkeypatch.setattr(
        "stores.publish.fsync_path", lambda path: synced.setdefault(path, visible.exists())
    )
    issue = make_issue(tmp_path).path
    stage = tmp_path / ".staging" / make_key().stage_name / "issue"
    moved = [stage / path.relative_to(issue) for path in (issue, *issue.rglob("*"))]
    assert len(moved) > 30
    assert [path for path in moved if synced.get(path) is not False] == []
    assert synced[tmp_path / "issues"]
    assert synced[tmp_path / "issues/rain"]
    assert synced[stage.parent]


def test_a_reader_that_polls_while_revisions_appear_never_sees_half(tmp_path: Path) -> None:
    make_issue(tmp_path)
    seen: list[str] = []
    done = threading.Event()

    def poll() -> None:
        while not done.is_set():
            seen.append(read_latest(tmp_path))

    with ThreadPoolExecutor() as pool:
        polls = pool.submit(poll)
        for bundle in ("b2", "b3", "b4"):
            make_issue(tmp_path, make_key(bundle=bundle))
        done.set()
        polls.result()
    assert len(set(seen)) > 1
    assert seen == sorted(seen)


def test_a_forecast_for_nowhere_is_not_published(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, make_key())
    nowhere = np.zeros(SHAPE, dtype=bool)
    write_domain(stage, Window.from_shape(SHAPE), nowhere)
    assert "'domain' holds no pixel" in refuse(tmp_path, stage)
