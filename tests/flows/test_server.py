from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient

from flows.children import Mark
from flows.schedule import list_upcoming
from flows.state import State
from stores.verify import verify

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    return kept | {
        "PREFECT_HOME": str(tmp_path / "user"),
        "CUBECAST_HOME": str(tmp_path / "home"),
    }


@pytest.fixture
def server(
    store: Path, tmp_path: Path, environment: dict[str, str]
) -> Iterator[tuple[State, dict[str, str]]]:
    """Start ``cubecast up`` as `make up` does, in another folder than the repository."""
    command = [sys.executable, "-m", "flows.cli", "up", str(store / "recipe.yaml"), "--detach"]
    options = ["--port", str(free_port())]
    done = run([*command, *options], environment, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    state = State.read(tmp_path / "home")
    assert state is not None
    try:
        yield state, environment
    finally:
        run([sys.executable, "-m", "flows.cli", "down"], environment, tmp_path)


def run(
    command: list[str], environment: dict[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )


def artifacts(url: str) -> set[str]:
    with SyncPrefectClient(url) as client:
        found: list[dict[str, Any]] = client.request(
            "POST", "/artifacts/filter", json={}
        ).json()
    return {str(artifact["key"]) for artifact in found}


def logs(url: str) -> list[str]:
    with SyncPrefectClient(url) as client:
        answer: list[dict[str, Any]] = client.request("POST", "/logs/filter", json={}).json()
    return [str(line["message"]) for line in answer]


def test_a_deployment_publishes_an_issue_and_the_schedules_have_future_runs(
    server: tuple[State, dict[str, str]], store: Path, tmp_path: Path
) -> None:
    state, environment = server
    upcoming = {line.deployment: line.next_run for line in list_upcoming(state.url)}
    assert set(upcoming) == {
        "ingest/nightly",
        "train/quarterly",
        "forecast/monthly",
        "evaluate/monthly",
    }
    now = time.time()
    assert all(when is not None and when.timestamp() > now for when in upcoming.values())

    command = [str(BIN / "prefect"), "deployment", "run", "forecast/monthly", "--watch"]
    done = run(command, environment, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Completed" in done.stdout
    (issue,) = (store / "run/issues/small-rain").glob("*/")
    assert verify(issue) == []
    assert {"plan", "rollout", "report-html"} <= artifacts(state.url)
    deadline = time.time() + 30  # the server files logs when it has time
    while not any(f"published {issue}" in line for line in logs(state.url)):
        assert time.time() < deadline
        time.sleep(1)

    listening = [
        connection.laddr.ip
        for mark in [state.owner, *state.members]
        for process in [psutil.Process(mark.pid)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}

    again = run([sys.executable, "-m", "flows.cli", "up"], environment, tmp_path)
    assert again.returncode == 1
    assert "is up already" in again.stderr

    os.kill(state.owner.pid, signal.SIGKILL)  # a crash: server and worker live on
    assert all(mark.find() is not None for mark in state.members)
    ended = run([sys.executable, "-m", "flows.cli", "down"], environment, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert all(mark.find() is None for mark in state.members)
    assert "cubecast" not in (tmp_path / "user" / "profiles.toml").read_text()


def test_a_taken_port_is_named(tmp_path: Path, environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run(
            [sys.executable, "-m", "flows.cli", "up", "--port", port], environment, tmp_path
        )
    assert done.returncode == 1
    assert f"port={port} is taken" in done.stderr
    assert not (tmp_path / "home" / "server.json").exists()


def test_down_without_a_server_says_so(tmp_path: Path, environment: dict[str, str]) -> None:
    done = run([sys.executable, "-m", "flows.cli", "down"], environment, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "nothing was up")


def test_flows_forget_a_server_that_has_crashed(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    home = tmp_path / "home"
    gone = Mark(2**22 - 1, 0.0)
    State("http://127.0.0.1:9/api", gone, [], "mine", ready=True).write(home)
    profiles = tmp_path / "user" / "profiles.toml"
    profiles.parent.mkdir()
    profiles.write_text(
        'active = "cubecast"\n[profiles.mine]\n'
        '[profiles.cubecast]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n'
    )
    run([sys.executable, "-m", "flows.cli", "check", "no-such-recipe"], environment, tmp_path)
    assert 'active = "mine"' in profiles.read_text()
    assert not (home / "server.json").exists()


def test_a_state_survives_being_written_and_read(tmp_path: Path) -> None:
    state = State("http://127.0.0.1:1/api", Mark(1, 2.0), [Mark(3, 4.5)], "mine", ready=True)
    state.write(tmp_path)
    assert State.read(tmp_path) == state
    assert json.loads((tmp_path / "server.json").read_text())["ready"] is True
    assert State.read(tmp_path / "nowhere") is None
