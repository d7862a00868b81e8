from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.options import DEFAULT
from flows.resolve import open_recipe
from flows.schedule import Request, deploy_to_active, write_deployments
from pipeline.recipes import PARTS, date_recipe
from stores.times import parse_time


def parameters(request: Request, folder: Path) -> list[dict[str, Any]]:
    write_deployments(request, folder / "prefect.yaml")
    written = yaml.safe_load((folder / "prefect.yaml").read_text())
    return [deployment["parameters"] for deployment in written["deployments"]]


def test_deployments_run_the_recipe_of_the_house_by_default(tmp_path: Path) -> None:
    first, *others = parameters(Request(), tmp_path)
    assert first["recipe"] == "rainfall-java"
    assert first["root"] == str(Path("runs/rainfall-java").absolute())
    assert others == [first, first | {"prepare": True}, first]


def test_the_parts_of_the_deployed_recipe_move_on_and_are_those_of_the_demo_today(
    tmp_path: Path,
) -> None:
    first, *_ = parameters(Request(), tmp_path)
    fixed = open_recipe("rainfall-java", [], None)
    moving = open_recipe("rainfall-java", first["overrides"], None)
    today, later = (date_recipe(moving, parse_time(date)) for date in ("2018-12", "2019-03"))
    assert [today.split.bounds(part) for part in PARTS] == [
        fixed.split.bounds(part) for part in PARTS
    ]
    assert later.split.train == ("2003-01", "2013-03")
    assert later.split.test == ("2016-05", "2019-03")


def test_overrides_are_added_to_those_of_the_recipe_of_the_house_alone(tmp_path: Path) -> None:
    stated = parameters(Request(), tmp_path)[0]["overrides"]
    for recipe in (None, DEFAULT):  # the command line names it
        added = parameters(Request(recipe, ("training.epochs=2",)), tmp_path)[0]["overrides"]
        assert added == [*stated, "training.epochs=2"]
    assert stated
    assert parameters(Request("my.yaml"), tmp_path)[0]["overrides"] == []


def test_paths_of_a_request_are_absolute_since_runs_start_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = Request("my.yaml", ("archive.root=data", "training.epochs=2"), Path("out"))
    first, *_, last = parameters(request, tmp_path)
    assert first == last
    assert first == {
        "recipe": str(tmp_path / "my.yaml"),
        "overrides": [f"archive.root={tmp_path / 'data'}", "training.epochs=2"],
        "root": str(tmp_path / "out"),
    }


def test_a_request_is_spelled_as_the_command_line_takes_it() -> None:
    request = Request("my.yaml", ("a=1", "b=2"), Path("out"))
    assert request.arguments() == ["my.yaml", "--set", "a=1", "--set", "b=2", "--root", "out"]
    assert Request().arguments() == []


def test_without_a_server_nothing_is_deployed() -> None:
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ConnectionError, match=r"PREFECT_API_URL is not set.*'cubecast up'"),
    ):
        deploy_to_active(Request())


def test_a_server_that_does_not_answer_is_named() -> None:
    url = "http://127.0.0.1:9/api"
    with (
        temporary_settings({PREFECT_API_URL: url}),
        pytest.raises(ConnectionError, match=f"PREFECT_API_URL={url} does not answer"),
    ):
        deploy_to_active(Request())
