"""What a machine may take away while nobody looks: the right to write, handles, the time."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest

from flows.check import check
from flows.ingest import ingest
from stores import times
from stores.clean import clean
from stores.cube import Cube
from stores.errors import CorruptError, FencedError, LeaseHeldError
from stores.forecast import open_forecast
from stores.ingest import commit_cube
from stores.ingest_plan import IngestPlan
from stores.issue import FORECAST
from stores.lease import lease
from stores.retention import RetentionPolicy
from tests.make import make_recipe, make_tiffs
from tests.make_disk import SmallDisk
from tests.make_flow import tree
from tests.make_ingest import make_plan, write_plan
from tests.make_issue import make_issue, make_key, make_values


def test_a_disk_that_is_read_only_is_refused_before_any_work(
    tmp_path: Path, small_disk: SmallDisk
) -> None:
    recipe = str(make_recipe(tmp_path))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk.mount)], check=True)
    for work in (check, ingest.fn):
        with pytest.raises(ValueError, match=r"you may not write into .*disk, .* --root"):
            work(recipe, [], str(small_disk.mount / "run"))


@contextmanager
def few_handles(n: int) -> Iterator[None]:
    """Let this process open ``n`` more files than it has."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(path.name) for path in Path("/proc/self/fd").iterdir() if path.exists()}
    free = (number for number in count() if number not in taken)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(islice(free, n, None)), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def try_to_write(plan: IngestPlan) -> str:
    """Do an ingest; give what it refused."""
    try:
        commit_cube(plan, write_plan(plan))
    except (OSError, ValueError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("n", [0, 1, 2, 4, 8, 16])
def test_a_process_without_handles_writes_all_or_says_so_and_goes_on_later(
    tmp_path: Path, n: int
) -> None:
    make_tiffs(tmp_path, n=3)
    plan = make_plan(tmp_path, tmp_path / "cube.zarr")
    with few_handles(n):
        message = try_to_write(plan)
    assert "Too many open files" in message or (n > 0 and not message)
    assert (tmp_path / "cube.zarr").exists() == (not message)
    assert try_to_write(plan) == ""
    assert Cube.open(tmp_path / "cube.zarr").version == plan.version


class _Clock(datetime):
    """A clock that goes wrong by some time."""

    wrong = timedelta()

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.now(UTC) + cls.wrong


@pytest.mark.parametrize(
    "wrong", [timedelta(hours=-1), timedelta(hours=1), timedelta(days=400)]
)
def test_a_wrong_clock_neither_gives_nor_takes_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: timedelta
) -> None:
    with lease(tmp_path, "rain", wait_s=0) as first:
        monkeypatch.setattr(_Clock, "wrong", wrong)
        monkeypatch.setattr(times, "datetime", _Clock)
        with pytest.raises(LeaseHeldError), lease(tmp_path, "rain", wait_s=0):
            pass
        first.check()
    with lease(tmp_path, "rain", wait_s=0) as second:
        assert second.token == first.token + 1
        with pytest.raises(FencedError):
            first.check()


def test_who_reads_an_old_revision_while_it_is_cleaned_away_never_reads_another(
    tmp_path: Path,
) -> None:
    old = make_issue(tmp_path).path
    make_issue(tmp_path, make_key(bundle="b2"))
    reader = open_forecast(old / FORECAST)
    np.testing.assert_array_equal(reader.read("rain", 1), make_values()[0])
    before = tree(tmp_path / ".staging")
    clean(tmp_path, RetentionPolicy(min_age_s=0, revisions=1))
    assert not old.exists()
    assert tree(tmp_path / ".staging") == before
    with pytest.raises(CorruptError, match=r"lacks rain/c/.*forecast it again"):
        reader.read("rain", 1)
