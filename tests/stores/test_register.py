from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stores.accept import accept
from stores.clean import clean
from stores.errors import CorruptError
from stores.manifest import REGISTERED, digest_manifest
from stores.register import REGISTER, read_register
from stores.retention import RetentionPolicy
from stores.verify import verify
from tests.make_issue import make_issue, make_key

FIRST = "2017-11"
SECOND = "2017-12"
THIRD = "2018-01"


class PowerCut(BaseException):
    """Nothing may catch it and clean up, as nothing does when the power fails."""


@contextmanager
def power_cut(at: str) -> Iterator[None]:
    def cut(point: str) -> None:
        if point == at:
            raise PowerCut

    with pytest.MonkeyPatch.context() as patch:
        for module in ("publish", "clean", "removal"):
            patch.setattr(f"stores.{module}.crash_point", cut)
        with pytest.raises(PowerCut):
            yield


@pytest.fixture(scope="module", autouse=True)
def _no_cogs() -> Iterator[None]:
    """Publish forecasts without COGs, which cost most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.make_issue.export_cogs", lambda stage: None)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    for init in (FIRST, SECOND):
        make_issue(root, make_key(init=init))
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """Return a store with two issues that are sound."""
    copy = tmp_path / "root"
    shutil.copytree(made, copy)
    return copy


def publish_next(root: Path) -> None:
    make_issue(root, make_key(init=THIRD))


def reseal(issue: Path, **changes: object) -> None:
    """Change a manifest so that its own digest is right again."""
    path = issue / "manifest.json"
    content = json.loads(path.read_text()) | changes
    del content["digest"]
    path.write_text(json.dumps(content | {"digest": digest_manifest(content)}))


def make_unregistered(root: Path) -> None:
    """Make a store as it was before there was a register."""
    for path in root.glob("issues/rain/*/manifest.json"):
        made = json.loads(path.read_text())["made"]
        del made[REGISTERED]
        reseal(path.parent, made=made)
    (root / REGISTER).unlink()


def test_swapped_issues_are_named_also_after_the_next_publication(root: Path) -> None:
    recipe_folder = root / "issues/rain"
    (recipe_folder / FIRST).rename(recipe_folder / "aside")
    (recipe_folder / SECOND).rename(recipe_folder / FIRST)
    (recipe_folder / "aside").rename(recipe_folder / SECOND)
    publish_next(root)
    findings = verify(root)
    for found, own in ((FIRST, SECOND), (SECOND, FIRST)):
        beginning = (
            f"issues/rain/{found}: rain/{found} holds the forecast that was published as "
        )
        assert any(f.startswith(f"{beginning}rain/{own}") for f in findings), findings
    catalog = (recipe_folder / "catalog.json").read_text()
    assert "2018-01" in catalog
    assert FIRST not in catalog


def test_a_renamed_issue_is_named_where_it_is_and_where_it_is_missing(root: Path) -> None:
    (root / "issues/rain" / FIRST).rename(root / "issues/rain/2016-05")
    publish_next(root)
    missing, unexpected = verify(root)
    assert missing.startswith(f"issues/rain/{FIRST} is missing: it was published 20")
    assert "issues/rain/2016-05: rain/2016-05 holds the forecast" in unexpected


def test_a_removed_issue_is_missing_until_it_is_made_again(root: Path) -> None:
    shutil.rmtree(root / "issues/rain" / FIRST)
    publish_next(root)
    for folder in (root, root / "issues/rain"):
        (missing,) = verify(folder)
        assert missing.startswith(f"issues/rain/{FIRST} is missing")
    again = make_issue(root, make_key(init=FIRST))
    assert (again.path.name, again.revision) == (FIRST, 1)
    assert verify(root) == []


def test_another_forecast_does_not_take_the_number_of_one_that_is_missing(root: Path) -> None:
    shutil.rmtree(root / "issues/rain" / FIRST)
    other = make_issue(root, make_key(init=FIRST, bundle="b2"))
    assert other.path.name == f"{FIRST}.r2"
    assert [finding.split(":")[0] for finding in verify(root)] == [
        f"issues/rain/{FIRST} is missing"
    ]


def test_an_issue_that_was_published_elsewhere_is_named(root: Path, tmp_path: Path) -> None:
    other = make_issue(tmp_path / "other", make_key(init="2016-05")).path
    shutil.copytree(other, root / "issues/rain/2016-05")
    publish_next(root)
    (finding,) = verify(root)
    assert finding.startswith("issues/rain/2016-05 is not in the register")
    assert verify(root / "issues/rain/2016-05") == [finding]


def test_an_issue_whose_manifest_was_written_anew_is_named(root: Path) -> None:
    reseal(root / "issues/rain" / FIRST, title="Snow of Java")
    publish_next(root)
    (finding,) = verify(root)
    assert finding.startswith(f"issues/rain/{FIRST} is not what was published there")
    assert f"'{FIRST}'" not in (root / "issues/rain/catalog.json").read_text()


def test_an_item_of_another_issue_is_named(root: Path) -> None:
    one, other = (root / "issues/rain" / init for init in (FIRST, SECOND))
    shutil.copy(other / "item.json", one / "item.json")
    assert verify(one) == ["item.json was altered"]


def test_a_copy_of_an_issue_somewhere_else_is_sound(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "for-a-colleague"
    shutil.copytree(root / "issues/rain" / FIRST, copy)
    assert verify(copy) == []


@pytest.mark.parametrize("point", ["publish.rename", "publish.enter", "publish.catalog"])
def test_a_kill_around_the_publishing_rename_damages_nothing_and_heals(
    root: Path, point: str
) -> None:
    with power_cut(point):
        publish_next(root)
    is_visible = point != "publish.rename"
    stale = [finding for finding in verify(root) if "catalog.json does not say" not in finding]
    assert stale == []
    if is_visible:
        make_issue(root, make_key(init="2018-02"))  # another forecast, whatever it is
    else:
        publish_next(root)
    assert verify(root) == []
    shutil.rmtree(root / "issues/rain" / THIRD)
    make_issue(root, make_key(init="2018-03"))
    (finding,) = verify(root)
    assert finding.startswith(f"issues/rain/{THIRD} is missing")


def test_an_issue_that_goes_before_its_publication_was_finished_is_missing(root: Path) -> None:
    with power_cut("publish.enter"):
        publish_next(root)
    shutil.rmtree(root / "issues/rain" / THIRD)
    assert any(f"{THIRD} is missing" in finding for finding in verify(root))
    clean(root, RetentionPolicy(min_age_s=0))  # the rest of its stage goes, the entry stays
    assert any(f"{THIRD} is missing" in finding for finding in verify(root))


def test_a_stage_that_goes_before_its_issue_was_published_is_not_missing(root: Path) -> None:
    with power_cut("publish.rename"):
        publish_next(root)
    clean(root, RetentionPolicy(min_age_s=0))
    assert not list((root / ".staging").iterdir())
    assert verify(root) == []


def test_what_cleaning_removes_is_entered_also_when_it_is_cut_short(root: Path) -> None:
    make_issue(root, make_key(init=SECOND, bundle="b2"))
    policy = RetentionPolicy(min_age_s=0, revisions=1)
    for point in ("clean.remove", "discard.rename"):
        with power_cut(point):
            clean(root, policy)
        assert [f for f in verify(root) if "catalog.json" not in f] == []
    clean(root, policy)
    assert not (root / "issues/rain" / SECOND).exists()
    assert verify(root) == []
    assert read_register(root).latest[f"rain/{SECOND}"].act == "removed"


def test_a_store_from_before_the_register_is_told_of_and_entered(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_unregistered(root)
    (root / "issues/rain" / FIRST / "manifest.json").write_text("{}")
    with caplog.at_level(logging.WARNING):
        assert not any("register" in finding for finding in verify(root))
    assert "published before a register was kept" in caplog.text
    caplog.clear()
    publish_next(root)
    assert "its 1 whole issues are entered" in caplog.text
    assert sorted(read_register(root).latest) == [f"rain/{SECOND}", f"rain/{THIRD}"]
    (finding,) = verify(root)
    assert finding.startswith(f"issues/rain/{FIRST}: ")
    shutil.rmtree(root / "issues/rain" / SECOND)
    assert any(f"{SECOND} is missing" in finding for finding in verify(root))


def test_a_register_that_is_gone_is_not_begun_anew_by_itself(root: Path) -> None:
    (root / REGISTER).unlink()
    (finding,) = verify(root)
    assert finding.startswith(".register.jsonl is gone")
    publish_next(root)
    assert [finding.split(",")[0] for finding in verify(root)] == [
        f"issues/rain/{init} is not in the register" for init in (FIRST, SECOND)
    ]


def test_half_a_line_of_a_register_is_no_line(root: Path) -> None:
    with power_cut("publish.catalog"):
        publish_next(root)
    content = (root / REGISTER).read_bytes()
    (root / REGISTER).write_bytes(content[:-30])
    make_issue(root, make_key(init="2018-02"))
    assert verify(root) == []
    assert read_register(root).latest[f"rain/{THIRD}"].act == "published"


@pytest.mark.parametrize("line", range(4))
def test_an_altered_line_of_a_register_is_named(root: Path, line: int) -> None:
    lines = (root / REGISTER).read_text().splitlines(keepends=True)
    assert len(lines) == 4
    lines[line] = lines[line].replace("2017-1", "2016-1")
    (root / REGISTER).write_text("".join(lines))
    publish_next(root)
    assert verify(root)[0].startswith(f".register.jsonl was altered at line {line + 1}")


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"[1]\n", b"{}\n", b"[" * 10_000 + b"\n"])
def test_a_register_of_something_else_is_named(root: Path, content: bytes) -> None:
    (root / REGISTER).write_bytes(content)
    assert verify(root)[0].startswith(".register.jsonl was altered at line 1")


def test_what_is_there_can_be_accepted_and_what_is_damaged_cannot(
    root: Path, tmp_path: Path
) -> None:
    shutil.rmtree(root / "issues/rain" / FIRST)
    come, torn = (
        make_issue(tmp_path / init, make_key(init=init)).path for init in ("2016-05", "2016-06")
    )
    for issue in (come, torn):
        shutil.copytree(issue, root / "issues/rain" / issue.name)
    (root / "issues/rain/2016-06/report.html").unlink()
    assert accept(root) == [
        f"issues/rain/{FIRST}: is gone, and counts as removed",
        "issues/rain/2016-05: is sound, and counts as published",
    ]
    findings = verify(root)
    assert [finding.split()[0].strip(":,") for finding in findings] == [
        "issues/rain/2016-06"
    ] * 2


def test_a_damaged_register_is_put_aside_and_begun_anew(root: Path) -> None:
    (root / REGISTER).write_text("nonsense\n")
    aside, *entered = accept(root)
    assert "was damaged; it is .register.jsonl.damaged-" in aside
    assert len(entered) == 2
    assert verify(root) == []


def test_a_folder_that_is_no_store_is_not_accepted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is nothing to accept"):
        accept(tmp_path)


@pytest.mark.parametrize("name", ["forecast.zarr/rain/c/1/0/1", "report.html"])
def test_a_damaged_issue_is_not_called_published(root: Path, name: str) -> None:
    issue = root / "issues/rain" / SECOND
    content = (issue / name).read_bytes()
    for damage in (lambda p: p.write_bytes(content[:-1]), Path.unlink):
        damage(issue / name)
        with pytest.raises(CorruptError, match=rf"is damaged \({name} .* move it away"):
            make_issue(root, make_key(init=SECOND))
    issue.rename(root / "away")
    again = make_issue(root, make_key(init=SECOND))
    assert (again.path, again.is_new) == (issue, True)
    assert verify(root) == []
