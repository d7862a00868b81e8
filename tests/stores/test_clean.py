from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stores.bundle import stage_bundle
from stores.clean import clean, clean_stages
from stores.issue import IssueKey, open_stage
from stores.manifest import list_files
from stores.publish import find_published
from stores.retention import DAY_S, CleanupCandidate, RetentionPolicy
from stores.verify import verify
from tests.make_issue import make_bundle, make_issue, make_key

ROOM = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from stores.lease import lease
with lease(Path(sys.argv[1]), sys.argv[2], wait_s=0):
    print("held", flush=True)
    sys.stdin.read()
"""
NOW = RetentionPolicy(min_age_s=0)


@contextmanager
def held_elsewhere(root: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """Hold a lease in another process, as a live run does."""
    command = [sys.executable, "-c", HOLDER, str(root), name]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOM, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def make_old(path: Path, days: float = 30) -> Path:
    for found in (*path.rglob("*"), path):
        os.utime(found, (time.time() - days * DAY_S,) * 2)
    return path


def begin(root: Path, key: IssueKey) -> Path:
    """Leave a stage as a run that died leaves it; return its folder."""
    issue = open_stage(root, key)
    for name in ("scratch.zarr", "ledger"):
        (issue.parent / name).mkdir()
        (issue.parent / name / "some.json").write_text("{}")
    (issue / ".rain.tif.abc.tmp").write_text("half")
    return issue.parent


def gone(found: list[CleanupCandidate]) -> list[Path]:
    return sorted(one.path for one in found if one.is_removed)


def test_stages_of_dead_runs_wait_for_a_rerun_and_go_when_they_are_old(tmp_path: Path) -> None:
    make_issue(tmp_path, make_key(bundle="done"))
    young, old, done = (begin(tmp_path, make_key(bundle=b)) for b in ("b1", "b2", "done"))
    make_old(old)
    before = list_files(young)
    assert gone(clean_stages(tmp_path, RetentionPolicy())) == sorted([old, done])
    assert list_files(young) == before
    assert not old.exists()
    assert not done.exists()
    assert gone(clean_stages(tmp_path, NOW)) == [young]
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_stage_that_another_process_holds_is_left_alone_to_the_last_file(
    tmp_path: Path,
) -> None:
    key = make_key()
    stage = make_old(begin(tmp_path, key))
    before = list_files(stage)
    with held_elsewhere(tmp_path, key.lease_name):
        for dry_run in (True, False):
            (found,) = clean(tmp_path, NOW, dry_run=dry_run)
            assert (found.path, found.is_removed, found.reason) == (stage, False, "in use")
        assert list_files(stage) == before
    assert gone(clean(tmp_path, NOW)) == [stage]  # its holder was killed


def test_a_dry_run_says_what_would_go_and_writes_nothing(tmp_path: Path) -> None:
    make_issue(tmp_path)
    make_issue(tmp_path, make_key(bundle="b2"))
    make_bundle(tmp_path / "models", seed=1)
    make_bundle(tmp_path / "models", seed=2)
    begin(tmp_path, make_key(bundle="b3"))
    policy = RetentionPolicy(min_age_s=0, revisions=1, bundles=0)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in list_files(tmp_path)}
    would = clean(tmp_path, policy, dry_run=True)
    after = {name: (tmp_path / name).stat().st_mtime_ns for name in list_files(tmp_path)}
    assert after == before
    assert sorted(one.kind for one in would if one.is_removed) == ["bundle", "issue", "stage"]
    assert all(one.n_bytes > 0 for one in would)
    assert gone(clean(tmp_path, policy)) == gone(would)


def test_a_removal_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    left = tmp_path / ".staging/.rain-2017-12-abc.gone"
    (left / "ledger").mkdir(parents=True)
    assert gone(clean(tmp_path, RetentionPolicy())) == [left]
    assert not left.exists()


def test_temporary_files_and_staged_bundles_go_when_nobody_touches_them(
    tmp_path: Path,
) -> None:
    make_issue(tmp_path)
    make_bundle(tmp_path / "models")
    names = (".catalog.json.x.tmp", "models/.rain.current.x.tmp", "issues/rain/.x.y.tmp")
    files = [tmp_path / name for name in names]
    for path in files:
        path.write_text("half")
    dead = tmp_path / "models/.staging/rain-xyz"
    dead.mkdir()
    assert gone(clean(tmp_path, RetentionPolicy())) == []
    for path in (*files, dead):
        make_old(path)
    with stage_bundle(tmp_path / "models", "rain") as living:
        make_old(living)
        assert gone(clean(tmp_path, RetentionPolicy())) == sorted([*files, dead])
        assert living.exists()
    assert verify(tmp_path) == []


def test_nothing_published_goes_unless_somebody_says_so(tmp_path: Path) -> None:
    for bundle in ("b1", "b2"):
        make_old(make_issue(tmp_path, make_key(bundle=bundle)).path)
    for seed in (1, 2):
        make_old(make_bundle(tmp_path / "models", seed=seed).path)
    assert gone(clean(tmp_path, NOW)) == []
    assert gone(clean(tmp_path, RetentionPolicy(revisions=1, bundles=0))) == [
        make_bundle(tmp_path / "models", seed=1).path  # issues were made a moment ago
    ]


def test_old_revisions_go_by_policy_and_the_catalog_follows(tmp_path: Path) -> None:
    keys = [make_key(bundle=f"b{i}") for i in range(1, 5)]
    first, second, *_ = [make_issue(tmp_path, key).path for key in keys]
    other = make_issue(tmp_path, make_key(name="dust")).path
    make_issue(tmp_path, make_key(name="dust", bundle="b2"))
    policy = RetentionPolicy(min_age_s=0, revisions=2, recipe="rain")
    assert gone(clean(tmp_path, policy)) == [first, second]
    assert other.exists()  # of another recipe
    assert verify(tmp_path) == []
    assert find_published(tmp_path, keys[0]) is None
    assert make_issue(tmp_path, keys[0]).path.name == "2017-12.r5"


def test_a_bundle_that_somebody_refers_to_stays(tmp_path: Path) -> None:
    models = tmp_path / "models"
    made = [make_bundle(models, seed=seed) for seed in range(7)]
    scored, issued, staged, named, free, newest, current = made
    for age, bundle in enumerate(reversed(made)):
        make_old(bundle.path, days=10 + age)
    (tmp_path / "scores" / scored.path.name).mkdir(parents=True)
    make_issue(tmp_path, make_key(bundle=issued.digest))
    open_stage(tmp_path, make_key(bundle=staged.digest))
    policy = RetentionPolicy(bundles=1, pinned_bundles=frozenset([named.path.name]))
    found = {one.path: one for one in clean(tmp_path, policy) if one.kind == "bundle"}
    assert [path for path in found if found[path].is_removed] == [free.path]
    assert {bundle.path: found[bundle.path].reason for bundle in made} == {
        scored.path: "has scores",
        issued.path: "of a published issue",
        staged.path: "of a forecast that is being made",
        named.path: "named by the recipe",
        free.path: "nobody refers to it",
        newest.path: "one of the 1 newest that nobody refers to",
        current.path: "current",
    }
    assert verify(tmp_path) == []


def test_a_policy_that_would_remove_what_readers_follow_is_refused() -> None:
    with pytest.raises(ValueError, match="would remove what readers follow; keep 1 or more"):
        RetentionPolicy(revisions=0)


def test_a_folder_that_is_no_store_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".of-somebody.tmp").touch()
    make_old(tmp_path)
    with pytest.raises(ValueError, match=r"is no store and its files are left alone"):
        clean(tmp_path, NOW)
    assert list_files(tmp_path) == [".of-somebody.tmp"]
