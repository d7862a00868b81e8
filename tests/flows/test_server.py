from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from flows.deployment import DeploymentInfo, list_deployed
from flows.ingest import ingest
from flows.processes import ProcessId
from flows.state import ServerState
from flows.train import train
from stores.verify import verify
from tests.flows.test_other_steps import MINUTES, make_series
from tests.make import make_recipe

BIN = Path(sys.executable).parent
CUBECAST = [sys.executable, "-m", "flows.cli"]
RAIN = ["ingest/nightly", "train/quarterly", "forecast/monthly", "evaluate/monthly"]
RADAR = [
    "ingest/by-hand-radar",
    "train/weekly-radar",
    "forecast/every-6-hours-radar",
    "evaluate/weekly-radar",
]
MINE = 'active = "mine"\n[profiles.mine]\nPREFECT_LOGGING_LEVEL = "WARNING"\n'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment_in(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    homes = {"PREFECT_HOME": str(folder / "user"), "CUBECAST_HOME": str(folder / "home")}
    return kept | homes


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return environment_in(tmp_path)


@dataclass(frozen=True)
class Server:
    """A server with two products, as a user has it."""

    folder: Path
    state: ServerState
    environment: dict[str, str]

    def recipe(self, product: str) -> str:
        return str(self.folder / product / "recipe.yaml")

    def run(self, *command: str) -> str:
        """Run a command in another folder than the repository; return what it said."""
        done = run(list(command), self.environment, self.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        with SyncPrefectClient(self.state.url) as client:
            yield client

    def deployed(self) -> dict[str, DeploymentInfo]:
        with self.client() as client:
            return {one.name: one for one in list_deployed(client)}

    def start(self, name: str, **parameters: Any) -> FlowRun:
        with self.client() as client:
            found = client.read_deployment_by_name(name)
            return client.create_flow_run_from_deployment(found.id, parameters=parameters)

    def state_of(self, started: FlowRun) -> str:
        with self.client() as client:
            return str(client.read_flow_run(started.id).state_name)


@pytest.fixture(scope="module")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start ``cubecast up`` with two products, once for all tests."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(trained, folder / "rain")
    make_recipe(folder / "rain", training={"epochs": 1}, outputs={"report": True})
    schedule = {"ingest": None, "forecast": "20 */6 * * *", "timezone": "Asia/Jakarta"}
    (folder / "radar").mkdir()
    radar = make_series(folder / "radar", MINUTES, name="radar", schedule=schedule)
    ingest.fn(radar)
    train.fn(radar)
    environment = environment_in(folder)
    (folder / "user").mkdir()
    (folder / "user" / "profiles.toml").write_text(MINE)
    recipes = [str(folder / "rain" / "recipe.yaml"), radar]
    command = [*CUBECAST, "up", *recipes, "--detach", "--port", str(free_port())]
    done = run(command, environment, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    state = ServerState.read(folder / "home")
    assert state is not None
    exported = environment | {"PREFECT_API_URL": state.url}
    assert f"export PREFECT_API_URL={state.url}" in done.stdout
    try:
        yield Server(folder, state, exported)
    finally:
        run([*CUBECAST, "down"], environment, folder)


def run(
    command: list[str], environment: dict[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.25)


def artifacts(client: SyncPrefectClient) -> dict[str, Any]:
    found: list[dict[str, Any]] = client.request("POST", "/artifacts/filter", json={}).json()
    return {str(artifact["key"]): artifact["data"] for artifact in found}


def logs(client: SyncPrefectClient, started: FlowRun | None = None) -> list[str]:
    wanted = {"logs": {"flow_run_id": {"any_": [str(started.id)]}}} if started else {}
    answer: list[dict[str, Any]] = client.request("POST", "/logs/filter", json=wanted).json()
    return [str(line["message"]) for line in answer]


def test_two_products_on_one_server_have_their_own_names_and_future_runs(
    server: Server,
) -> None:
    found = server.deployed()
    assert sorted(found) == sorted(RAIN + RADAR)
    now = datetime.now(UTC)
    assert all(one.next_runs[0] > now for one in found.values() if one.cron is not None)
    listed = server.run(*CUBECAST, "deployments")
    for said in (*found, "small-rain", "0 6 5 * * ", "by hand", " WIB"):
        assert said in listed


@pytest.mark.slow
def test_each_product_publishes_from_its_deployment_and_none_touches_the_other(
    server: Server,
) -> None:
    command = [str(BIN / "prefect"), "deployment", "run"]
    watched = [
        subprocess.Popen(
            [*command, name, "--watch"],
            env=server.environment,
            cwd=server.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("forecast/monthly", "forecast/every-6-hours-radar")
    ]
    said = [process.communicate(timeout=200)[0] for process in watched]
    assert [process.returncode for process in watched] == [0, 0], said
    with server.client() as client:
        left = artifacts(client)
        for product, recipe, told in zip(
            ("rain", "radar"), ("small-rain", "radar"), said, strict=True
        ):
            issues = [*(server.folder / product / "run/issues").glob("*/*/manifest.json")]
            (issue,) = {manifest.parent for manifest in issues}
            assert issue.parent.name == recipe
            assert verify(issue) == []
            assert f"issue: {issue}" in told.replace("\n", "")
            assert str(issue) in left[f"{recipe}-issue"]
            assert f"{recipe}-plan" in left
        assert "](data:image/png;base64," in left["small-rain-report"]
        runs = client.read_flow_runs()
        tags = {tag for one in runs for tag in one.tags if tag.startswith("recipe:")}
        assert tags == {"recipe:small-rain", "recipe:radar"}


@pytest.mark.slow
def test_a_deploy_that_was_interrupted_is_completed_by_the_next(server: Server) -> None:
    before = server.deployed()
    of_radar = [name for name in before if name.endswith("-radar")]
    with server.client() as client:
        for name in of_radar[1:]:
            client.delete_deployment(before[name].id)
    said = server.run(*CUBECAST, "deploy", server.recipe("radar"))
    assert sorted(server.deployed()) == sorted(before)
    assert said.count("deployed ") == len(of_radar)
    assert server.deployed()[of_radar[0]].id == before[of_radar[0]].id


@pytest.mark.slow
def test_what_is_paused_stays_paused_and_other_products_stay_as_they_are(
    server: Server,
) -> None:
    before = server.deployed()
    name = "train/weekly-radar"
    with server.client() as client:
        client.request(
            "POST", "/deployments/{id}/pause_deployment", path_params={"id": before[name].id}
        )
    again = server.run(
        *CUBECAST, "deploy", server.recipe("radar"), "--set", "schedule.train=0 5 3 * *"
    )
    assert "deployed train/monthly-radar" in again
    after = server.deployed()
    assert after["train/monthly-radar"].paused
    assert name not in after
    assert not after["forecast/every-6-hours-radar"].paused
    assert [after[one].id for one in RAIN] == [before[one].id for one in RAIN]


@pytest.mark.slow
def test_of_late_runs_only_the_newest_starts(server: Server) -> None:
    radar = server.deployed()["evaluate/weekly-radar"]
    now = datetime.now(UTC)
    past = {"start_time": str(now - timedelta(days=15)), "end_time": str(now)}
    late = FlowRunFilter.model_validate(
        {
            "deployment_id": {"any_": [str(radar.id)]},
            "expected_start_time": {"before_": now},
        }
    )
    with server.client() as client:
        client.request(
            "POST", "/deployments/{id}/schedule", path_params={"id": radar.id}, json=past
        )
        older, newer = sorted(
            client.read_flow_runs(flow_run_filter=late),
            key=lambda one: str(one.expected_start_time),
        )
    # Started together, the other waits half a minute for the slot.
    wait_until(lambda: server.state_of(older) == "LeftOut", 120)
    with server.client() as client:
        assert client.read_flow_run(newer.id).state_name != "LeftOut"
        client.delete_flow_run(newer.id)


@pytest.mark.slow
def test_a_failed_run_is_told_to_whom_its_recipe_names(server: Server) -> None:
    told: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Hook) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        block = CustomWebhookNotificationBlock(
            name="ops",
            url=f"http://127.0.0.1:{web.server_port}",
            method="POST",
            json_data={"text": "{{subject}}"},
        )
        with temporary_settings({PREFECT_API_URL: server.state.url}):
            block.save("ops")
        notify = "schedule.notify=custom-webhook/ops"
        server.run(*CUBECAST, "deploy", server.recipe("radar"), "--set", notify)
        wrong = ["training.epoch=1"]
        runs = [server.start(name, overrides=wrong) for name in (RAIN[1], RADAR[1])]
        wait_until(lambda: [server.state_of(one) for one in runs] == ["Failed"] * 2, 90)
        wait_until(lambda: bool(told), 30)
        web.shutdown()
    assert len(told) == 1
    assert "train" in told[0]


@pytest.mark.slow
def test_a_run_that_is_cancelled_ends_soon_and_keeps_its_state(server: Server) -> None:
    endless = ["compute.workers=1", "training.epochs=5000", "training.patience=5000"]
    started = server.start("train/quarterly", overrides=endless)

    def learns() -> bool:
        with server.client() as client:
            return any(line.startswith("epoch 1/") for line in logs(client, started))

    wait_until(learns, 120)
    worker = psutil.Process(server.state.members[1].pid)
    family = worker.children(recursive=True)
    assert len(family) >= 3  # not trivial: the run, a Dask worker and what looks after it
    with server.client() as client:
        client.set_flow_run_state(started.id, Cancelling())
    assert not psutil.wait_procs(family, timeout=30)[1]  # 3 s where nothing else runs
    # The worker says "Cancelled" half a minute later; the run itself says how it ended.
    wait_until(lambda: server.state_of(started) in ("Crashed", "Cancelled"), 30)
    state = server.folder / "rain/run/training/small-rain/state.ckpt"
    assert state.exists()


def test_a_product_is_taken_away_and_the_other_stays(server: Server) -> None:
    said = server.run(*CUBECAST, "deployments", "--remove", "radar")
    assert "removed forecast/every-6-hours-radar" in said
    assert sorted(server.deployed()) == sorted(RAIN)
    unknown = run(
        [*CUBECAST, "deployments", "--remove", "radar"], server.environment, server.folder
    )
    assert unknown.returncode == 1
    assert "'radar' is no deployment and no recipe of the server" in unknown.stderr


def test_a_server_listens_on_this_machine_only_and_nothing_of_it_outlives_a_crash(
    server: Server,
) -> None:
    members = [server.state.owner, *server.state.members]
    listening = [
        connection.laddr.ip
        for mark in members
        for process in [psutil.Process(mark.pid)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}

    again = run([*CUBECAST, "up"], server.environment, server.folder)
    assert again.returncode == 1
    assert "is up already" in again.stderr

    assert all(mark.find() is not None for mark in members)
    os.kill(server.state.owner.pid, signal.SIGKILL)  # a crash
    wait_until(lambda: all(mark.find() is None for mark in members), 60)
    wait_until(lambda: ServerState.read(server.folder / "home") is None, 10)
    assert server.run(*CUBECAST, "down") == "nothing was up\n"
    assert (server.folder / "user" / "profiles.toml").read_text() == MINE


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


def test_a_state_survives_being_written_and_read(tmp_path: Path) -> None:
    state = ServerState(
        "http://127.0.0.1:1/api", ProcessId(1, 2.0), [ProcessId(3, 4.5)], ready=True
    )
    state.write(tmp_path)
    assert ServerState.read(tmp_path) == state
    assert json.loads((tmp_path / "server.json").read_text())["ready"] is True
    assert ServerState.read(tmp_path / "nowhere") is None
