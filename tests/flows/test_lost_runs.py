from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Pending, Running

from flows.lost_runs import is_lost, mark_lost_runs_crashed
from flows.schedule import POOL

NOW = datetime.now(UTC)
HERE = socket.gethostname()


def make_run(process: str | None, *, pool: str | None = POOL, **options: Any) -> FlowRun:
    return FlowRun(
        **{
            "flow_id": uuid4(),
            "name": "forecast small-rain",
            "infrastructure_pid": process,
            "work_pool_name": pool,
            "start_time": NOW,
            "state": Running(),
        }
        | options
    )


@pytest.fixture(scope="module")
def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_run_is_lost_when_its_process_is_gone_and_not_before(dead: int) -> None:
    me = os.getpid()
    assert is_lost(make_run(str(dead)))
    assert is_lost(make_run(f"{HERE}:{dead}", pool=None))
    assert not is_lost(make_run(str(me)))
    assert not is_lost(make_run(f"{HERE}:{me}", pool=None))
    month_long = make_run(str(me), start_time=NOW + timedelta(days=30))
    assert not is_lost(month_long, no_worker=True)


def test_a_younger_process_with_the_same_number_is_another_one() -> None:
    before = make_run(str(os.getpid()), start_time=NOW - timedelta(days=30))
    assert is_lost(before)


def test_runs_whose_process_cannot_be_seen_from_here_are_left_alone(dead: int) -> None:
    assert not is_lost(make_run(f"elsewhere:{dead}"))
    assert not is_lost(make_run(str(dead), pool="docker"), no_worker=True)
    assert not is_lost(make_run("container-7f", pool=POOL), no_worker=True)
    assert not is_lost(make_run(None, pool=None), no_worker=True)


def test_what_a_worker_took_and_never_started_is_lost_once_no_worker_lives() -> None:
    taken = make_run(None, state=Pending(), start_time=None)
    assert not is_lost(taken)
    assert is_lost(taken, no_worker=True)


@dataclass
class Client:
    """Stands for a server that has some runs, of which some have ended since it was asked."""

    runs: list[FlowRun]
    ended_since: list[FlowRun] = field(default_factory=list)
    told: dict[UUID, State[Any]] = field(default_factory=dict)

    def read_flow_runs(self, *, offset: int = 0, **_: Any) -> list[FlowRun]:
        return self.runs[offset : offset + 1]  # a page holds one

    def read_flow_run(self, number: UUID) -> FlowRun:
        (run,) = (one for one in self.runs if one.id == number)
        if run in self.ended_since:
            return run.model_copy(update={"state": Completed(), "state_type": Completed().type})
        return run

    def set_flow_run_state(self, number: UUID, state: State[Any]) -> None:
        self.told[number] = state


def test_lost_runs_are_marked_as_crashed_and_those_that_ended_meanwhile_are_not(
    dead: int,
) -> None:
    lost, done, alive = (make_run(str(pid)) for pid in (dead, dead, os.getpid()))
    client = Client([done, lost, alive], ended_since=[done])
    assert mark_lost_runs_crashed(client) == [lost.name]  # type: ignore[arg-type]
    assert list(client.told) == [lost.id]
    state = client.told[lost.id]
    assert state.is_crashed()
    assert f"its process {dead} is gone" in str(state.message)
