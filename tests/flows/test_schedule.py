from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import connection, deployment, recipe_flow
from flows.deployment import DeploymentInfo
from flows.resolve import open_recipe
from flows.schedule import DeployRequest, write_deployments
from pipeline.recipes import RecipeError, resolve_dates
from pipeline.split import PARTS
from stores.times import parse_time
from tests.flows.test_other_steps import FIVE_YEARS, make_series
from tests.make import make_recipe

FIRST = ("ingest/nightly", "train/quarterly", "forecast/monthly", "evaluate/monthly")


def deployments(
    request: DeployRequest, folder: Path, **options: Any
) -> dict[tuple[str, str], dict[str, Any]]:
    """Map recipe and flow to what is applied."""
    products = request.products()
    options = {"first": products[0].name} | options
    write_deployments(products, folder / "prefect.yaml", **options)
    written = yaml.safe_load((folder / "prefect.yaml").read_text())["deployments"]
    recipes = [product.name for product in products for _ in FIRST]
    return {
        (recipe, str(one["entrypoint"]).rpartition(".")[2]): one
        for recipe, one in zip(recipes, written, strict=True)
    }


def two_recipes(folder: Path) -> tuple[str, str]:
    """Write a monthly recipe and one of the same archive that is forecast by the hour."""
    rain = make_recipe(folder / "rain")
    radar = make_recipe(
        folder / "radar",
        name="radar",
        schedule={"forecast": "20 * * * *", "train": None, "timezone": "Europe/Berlin"},
    )
    return str(rain), str(radar)


def test_deployments_run_the_recipe_of_the_house_by_default(tmp_path: Path) -> None:
    found = deployments(DeployRequest(), tmp_path)
    names = {f"{flow}/{one['name']}" for (_, flow), one in found.items()}
    assert names == {
        "ingest/nightly",
        "train/quarterly",
        "forecast/monthly",
        "evaluate/monthly",
    }
    for (recipe, flow), one in found.items():
        assert one["parameters"]["recipe"] == recipe == "rainfall-java"
        assert one["parameters"]["root"] == str(Path("runs/rainfall-java").absolute())
        assert one["parameters"].get("prepare", False) == (flow == "forecast")
        assert one["tags"] == ["cubecast", "recipe:rainfall-java"]
        (schedule,) = one["schedules"]
        assert schedule["timezone"] == "Asia/Jakarta"
        assert schedule["active"]


def test_the_parts_of_the_deployed_recipe_move_on_and_are_those_of_the_demo_today(
    tmp_path: Path,
) -> None:
    first = deployments(DeployRequest(), tmp_path)["rainfall-java", "train"]["parameters"]
    fixed = open_recipe("rainfall-java", [], None)
    moving = open_recipe("rainfall-java", first["overrides"], None)
    today, later = (resolve_dates(moving, parse_time(date)) for date in ("2018-12", "2019-03"))
    assert [today.split.to_split().bounds(part) for part in PARTS] == [
        fixed.split.to_split().bounds(part) for part in PARTS
    ]
    assert later.split.train == ("2003-01", "2013-03")
    assert later.split.test == ("2016-05", "2019-03")


def test_a_second_recipe_stands_beside_the_first_with_its_own_cadence_and_zone(
    tmp_path: Path,
) -> None:
    found = deployments(DeployRequest(two_recipes(tmp_path)), tmp_path)
    names = [f"{flow}/{one['name']}" for (_, flow), one in found.items()]
    assert names == [
        *FIRST,
        "ingest/nightly-radar",
        "train/by-hand-radar",
        "forecast/hourly-radar",
        "evaluate/monthly-radar",
    ]
    assert found["small-rain", "forecast"]["schedules"][0]["timezone"] == "UTC"
    assert found["radar", "forecast"]["schedules"] == [
        {"cron": "20 * * * *", "timezone": "Europe/Berlin", "active": True}
    ]
    assert found["radar", "train"]["schedules"] == []


def test_what_is_paused_is_written_as_paused(tmp_path: Path) -> None:
    found = deployments(DeployRequest(), tmp_path, paused={("rainfall-java", "train")})
    (line,) = found["rainfall-java", "train"]["schedules"]
    assert found["rainfall-java", "train"]["paused"]
    assert not line["active"]
    assert not found["rainfall-java", "forecast"]["paused"]


def test_overrides_of_the_caller_come_after_those_that_the_recipe_schedules(
    tmp_path: Path,
) -> None:
    stated = deployments(DeployRequest(), tmp_path)["rainfall-java", "train"]["parameters"]
    given = DeployRequest(overrides=("training.epochs=2",))
    added = deployments(given, tmp_path)["rainfall-java", "train"]["parameters"]
    assert stated["overrides"]
    assert added["overrides"] == [*stated["overrides"], "training.epochs=2"]


def test_paths_of_a_request_are_absolute_since_runs_start_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    request = DeployRequest(
        ("recipe.yaml",), ("archive.root=data", "training.epochs=2"), Path("out")
    )
    first, *_, last = (one["parameters"] for one in deployments(request, tmp_path).values())
    assert first == last
    assert first == {
        "recipe": str(tmp_path / "recipe.yaml"),
        "overrides": [f"archive.root={tmp_path / 'data'}", "training.epochs=2"],
        "root": str(tmp_path / "out"),
    }


def test_a_request_is_spelled_as_the_command_line_takes_it() -> None:
    request = DeployRequest(("a.yaml", "b.yaml"), ("a=1", "b=2"), Path("out"))
    spelled = ["a.yaml", "b.yaml", "--set", "a=1", "--set", "b=2", "--root", "out"]
    assert request.arguments() == spelled
    assert DeployRequest().arguments() == ["rainfall-java"]


def test_two_recipes_of_one_name_are_refused(tmp_path: Path) -> None:
    recipes = tuple(str(make_recipe(tmp_path / folder)) for folder in ("a", "b"))
    with pytest.raises(RecipeError, match="name='small-rain' is that of 2 recipes"):
        DeployRequest(recipes).products()


def test_a_recipe_is_one_product_however_its_path_is_written(tmp_path: Path) -> None:
    recipe = str(make_recipe(tmp_path / "a"))
    (tmp_path / "d").mkdir()
    (product,) = DeployRequest((recipe, str(tmp_path / "d/../a/recipe.yaml"))).products()
    assert product.parameters["recipe"] == recipe


def as_deployed(request: DeployRequest, folder: Path, *, first: str) -> list[DeploymentInfo]:
    """List what a server has after a request, without a server."""
    return [
        DeploymentInfo(
            id=uuid4(),
            flow=flow,
            deployment=one["name"],
            recipe=recipe,
            path=one["parameters"]["recipe"],
            cron=next((line["cron"] for line in one["schedules"]), None),
            timezone="UTC",
            paused=False,
        )
        for (recipe, flow), one in deployments(request, folder, first=first).items()
    ]


def test_what_is_deployed_keeps_its_names_in_any_order_and_when_the_first_has_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = DeployRequest(two_recipes(tmp_path))
    turned = DeployRequest(both.recipes[::-1])
    before = as_deployed(both, tmp_path, first="small-rain")
    assert deployment._unsuffixed_product([], both.products()) == "small-rain"
    assert deployment._unsuffixed_product(before, turned.products()) == "small-rain"
    radar_alone = [one for one in before if one.recipe == "radar"]
    assert deployment._unsuffixed_product(radar_alone, turned.products()) == "small-rain"
    assert deployment._unsuffixed_product(radar_alone, turned.products()[:1]) == ""
    deployment._warn_moved(before, turned.products())
    assert capsys.readouterr().err == ""


def test_a_recipe_that_takes_the_place_of_another_of_its_name_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (DeployRequest((str(make_recipe(tmp_path / name)),)) for name in ("a", "b"))
    before = as_deployed(first, tmp_path, first="small-rain")
    deployment._warn_moved(before, second.products())
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("the deployments of 'small-rain' ran") == 1
    for recipe in (*first.recipes, *second.recipes):
        assert recipe in said.replace(" ", "")


def test_a_product_of_five_years_is_deployed_for_once_a_year(tmp_path: Path) -> None:
    recipe = make_series(tmp_path, FIVE_YEARS)
    found = deployments(DeployRequest((recipe,)), tmp_path)
    assert {one["name"] for one in found.values()} == {"yearly"}


@pytest.mark.parametrize("command", ["deploy", "up"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.yaml"], "missing.yaml cannot be read"),
        (["rainfall-java", "--set", "training.epoch=2"], "did you mean 'epochs'?"),
        (
            ["rainfall-java", "--set", "schedule.overrides=[splt.test=1]"],
            "did you mean 'split'",
        ),
    ],
)
def test_what_no_run_could_open_is_refused_before_a_server_is_asked_or_started(
    command: str, arguments: list[str], said: str, tmp_path: Path
) -> None:
    line = [sys.executable, "-m", "flows.cli", command, *arguments]
    home = tmp_path / "home"
    done = subprocess.run(
        [*line, "--home", str(home)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert not home.exists()


def test_without_a_server_nothing_is_deployed(tmp_path: Path) -> None:
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ConnectionError, match=r"PREFECT_API_URL is not set.*'cubecast up'"),
    ):
        connection.find_server(tmp_path)


def test_a_server_that_does_not_answer_is_named() -> None:
    url = "http://127.0.0.1:9/api"
    with pytest.raises(ConnectionError, match=f"the server {url} does not answer"):
        deployment.deploy(DeployRequest(), url)


@pytest.mark.parametrize(("most", "said"), [(2, "it was due 3.0 h ago, more than"), (4, "")])
def test_a_run_that_comes_too_late_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, said: str
) -> None:
    recipe = open_recipe(str(make_recipe(tmp_path)), [f"schedule.max_delay_hours={most}"], None)
    due = datetime.now(UTC) - timedelta(hours=3)
    run = FlowRun(flow_id=uuid4(), auto_scheduled=True, expected_start_time=due)
    monkeypatch.setattr(recipe_flow, "_count_newer", lambda _: 0)
    assert recipe_flow._lateness_reason(run, recipe) == (
        said and f"{said} schedule.max_delay_hours=2"
    )
    by_hand = run.model_copy(update={"auto_scheduled": False})
    assert recipe_flow._lateness_reason(by_hand, recipe) == ""
