from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.schedule import Request, deploy_to_active, write_deployments


def parameters(request: Request, folder: Path) -> list[dict[str, Any]]:
    write_deployments(request, folder / "prefect.yaml")
    written = yaml.safe_load((folder / "prefect.yaml").read_text())
    return [deployment["parameters"] for deployment in written["deployments"]]


def test_deployments_run_the_recipe_of_the_house_by_default(tmp_path: Path) -> None:
    plain: dict[str, Any] = {"recipe": "rainfall-java", "overrides": [], "root": None}
    assert parameters(Request(), tmp_path) == [plain, plain, plain | {"prepare": True}, plain]


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
