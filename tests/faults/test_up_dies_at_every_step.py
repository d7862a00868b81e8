"""``cubecast up`` is killed, or started twice: nothing of it stays, and nobody is misled."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient

from flows import server
from flows.ingest import ingest
from flows.processes import ProcessId, find_owned
from flows.schedule import DeployRequest
from flows.state import ServerState, state_file
from stores.errors import LeaseHeldError
from stores.lease import lease
from tests.flows.test_server import CUBECAST, MINE, environment_in, free_port, wait_until
from tests.make import make_recipe

STEPS = [
    *("up.alone", "up.watchdog", "up.server", "up.healthy"),
    *("up.worker", "up.deployed", "up.ready"),
]
_PATIENCE_S = 120.0  # machines that run tests are busy
ENDLESS = ["compute.workers=1", "training.epochs=5000", "training.patience=5000"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield a home whose user has a Prefect profile, and leave no process of it behind."""
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "profiles.toml").write_text(MINE)
    home = tmp_path / "home"
    try:
        yield home
    finally:
        kill(find_owned(home))


def kill(marks: list[ProcessId]) -> None:
    """End processes at once, in no order, as a machine that is switched off does."""
    for mark in marks:
        if process := mark.find():
            process.kill()


@contextmanager
def started(home: Path, *words: str, crash_at: str = "") -> Iterator[subprocess.Popen[str]]:
    environment = environment_in(home.parent) | {"CUBECAST_CRASH_AT": crash_at}
    process = subprocess.Popen(
        [*CUBECAST, *words],
        env=environment,
        cwd=home.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run(home: Path, *words: str, crash_at: str = "") -> tuple[int, str]:
    with started(home, *words, crash_at=crash_at) as process:
        said = "".join(process.communicate(timeout=300))
    return process.returncode, said


def assert_nothing_stays(home: Path) -> None:
    wait_until(lambda: not find_owned(home) and not state_file(home).exists(), _PATIENCE_S)
    assert (home.parent / "user" / "profiles.toml").read_text() == MINE
    assert [path.name for path in (home.parent / "user").iterdir()] == ["profiles.toml"]


def state_of(home: Path) -> ServerState:
    state = ServerState.read(home)
    assert state is not None
    return state


@pytest.mark.parametrize("start", [server.up, server.up_detached])
def test_while_somebody_starts_a_server_nobody_else_does(
    home: Path, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "handle_interrupts", nullcontext)  # leaves signals alone
    with (
        lease(home, "up", wait_s=0),
        pytest.raises(LeaseHeldError, match="is up already or just starting, so a second one"),
    ):
        start(DeployRequest(), home=home, port=0, echo=print)
    assert not [*home.glob("logs/*")]


@pytest.mark.slow
def test_of_two_at_the_same_instant_one_is_refused_and_of_the_other_nothing_outlives_a_kill(
    home: Path,
) -> None:
    up = ("up", "--port", "0")
    with started(home, *up) as one, started(home, *up) as other:
        wait_until(lambda: one.poll() is not None or other.poll() is not None, _PATIENCE_S)
        refused, alive = (one, other) if one.poll() is not None else (other, one)
        said = "".join(refused.communicate())
        assert refused.returncode == 1
        assert "is up already" in said
        assert len(said.splitlines()) == 1
        wait_until(lambda: state_file(home).exists() and bool(state_of(home).members), 60)
        assert len(find_owned(home)) >= 2  # not trivial: a server, and who watches
        alive.kill()
    assert_nothing_stays(home)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_whatever_it_has_done_when_it_dies_nothing_stays(home: Path, step: str) -> None:
    code, said = run(home, "up", "--port", "0", crash_at=step)
    assert code == -signal.SIGKILL, said
    assert_nothing_stays(home)
    assert run(home, "down") == (0, "nothing was up\n")


@pytest.mark.slow
def test_what_a_killed_one_left_is_ended_by_the_next(home: Path) -> None:
    with started(home, "up", "--port", "0") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "applying" in line:
                break
        (watchdog,) = (
            mark
            for mark in find_owned(home)
            if "flows.watchdog" in psutil.Process(mark.pid).cmdline()
        )
        kill([watchdog, ProcessId.from_pid(process.pid)])
    left = find_owned(home)
    assert len(left) >= 2  # not trivial: server and worker live on
    assert all(mark.find() for mark in left)
    code, said = run(home, "up", "--port", "0", crash_at="up.watchdog")
    assert code == -signal.SIGKILL
    assert "processes that an earlier 'cubecast up' left behind" in said
    assert not any(mark.find() for mark in left)
    assert_nothing_stays(home)


@pytest.mark.slow
def test_of_two_in_the_background_one_is_refused_and_down_ends_the_other(home: Path) -> None:
    up = ("up", "--detach", "--port", "0")
    with started(home, *up) as one, started(home, *up) as other:
        said = ["".join(process.communicate(timeout=300)) for process in (one, other)]
    assert sorted((one.returncode, other.returncode)) == [0, 1], said
    refused, ready = (said[0], said[1]) if one.returncode else (said[1], said[0])
    assert "is up already" in refused
    assert f"export PREFECT_API_URL={state_of(home).url}" in ready
    assert run(home, "down")[0] == 0
    assert_nothing_stays(home)


@pytest.mark.slow
def test_runs_that_died_with_their_server_are_ended_and_their_slot_is_free(
    home: Path,
) -> None:
    recipe = str(make_recipe(home.parent, training={"epochs": 1}))
    root = home.parent / "other"
    ingest.fn(recipe)
    ingest.fn(recipe, None, str(root))
    up = ("up", recipe, "--detach", "--port", str(free_port()))
    assert run(home, *up)[0] == 0
    with by_hand(home, "train", recipe, "--root", str(root)) as process:
        lost = start_train(home)
        alive = wait_for_run_by_hand(home)
        wait_until(lambda: state_name(home, lost) == "Running", _PATIENCE_S)
        leases = [*(home / "prefect/concurrency_leases").glob("*-*.json")]
        assert len(leases) == 1  # not trivial: the run has the only slot, kept in a file
        kill([state_of(home).owner, *find_owned(home)])
        assert run(home, *up)[0] == 0
        assert state_name(home, lost) == "Crashed"
        after = start_train(home)
        wait_until(lambda: state_name(home, after) == "Running", 60)
        assert process.poll() is None
        assert state_name(home, alive) == "Running"
    wait_until(lambda: state_name(home, alive) == "Crashed", 90)  # it has just been killed
    assert run(home, "down")[0] == 0
    assert_nothing_stays(home)


@contextmanager
def by_hand(home: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Train in a shell of the user, where the server is exported."""
    sets = [word for text in ENDLESS for word in ("--set", text)]
    process = subprocess.Popen(
        [*CUBECAST, *words, *sets],
        env=environment_in(home.parent) | {"PREFECT_API_URL": state_of(home).url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def start_train(home: Path) -> UUID:
    with SyncPrefectClient(state_of(home).url) as client:
        train = client.read_deployment_by_name("train/quarterly").id
        endless = {"overrides": ENDLESS}
        return client.create_flow_run_from_deployment(train, parameters=endless).id


def wait_for_run_by_hand(home: Path) -> UUID:
    found: list[UUID] = []

    def is_found() -> bool:
        with SyncPrefectClient(state_of(home).url) as client:
            runs = client.read_flow_runs()
        found.extend(run.id for run in runs if run.infrastructure_pid and not run.deployment_id)
        return bool(found)

    wait_until(is_found, _PATIENCE_S)
    return found[0]


def state_name(home: Path, number: UUID) -> str:
    with SyncPrefectClient(state_of(home).url) as client:
        return str(client.read_flow_run(number).state_name)
