from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from flows import processes
from flows.processes import ManagedProcess, ProcessId

SLEEP = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


def make_child(folder: Path, script: str) -> ManagedProcess:
    return ManagedProcess("sleeper", [sys.executable, "-c", script], {}, folder / "sleeper.log")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_process_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = (
        "import subprocess, sys, pathlib\n"
        f"inner = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "inner.wait()\n"
    )
    child = make_child(tmp_path, script)
    child.start()
    wait_for(ready)
    mark = child.process_id
    assert mark is not None
    family = psutil.Process(mark.pid).children(recursive=True)
    assert len(family) == 1
    child.stop()
    assert mark.find() is None
    assert not any(one.is_running() for one in family)


def test_a_process_that_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_TERM_S", 0.2)
    ready = tmp_path / "ready"
    touch = f"import pathlib; pathlib.Path({str(ready)!r}).touch(); "
    child = make_child(tmp_path, STUBBORN + touch + SLEEP)
    child.start()
    wait_for(ready)
    mark = child.process_id
    assert mark is not None
    child.stop()
    assert mark.find() is None


def test_a_dead_process_is_started_again_until_it_died_too_often(tmp_path: Path) -> None:
    child = make_child(tmp_path, "print('last words')")
    child.start()
    while child.restarts < 5:
        child.restart_if_dead()
        time.sleep(0.02)
    while child.process_id is not None:
        time.sleep(0.02)
    with pytest.raises(RuntimeError, match=r"(?s)sleeper ended 6 times.*last words"):
        child.restart_if_dead()


def test_a_live_process_is_left_alone(tmp_path: Path) -> None:
    child = make_child(tmp_path, SLEEP)
    child.start()
    mark = child.process_id
    assert mark is not None
    assert not child.restart_if_dead()
    assert child.process_id == mark
    child.stop()


def test_another_process_with_the_same_number_is_not_mistaken() -> None:
    own = ProcessId.from_pid(psutil.Process().pid)
    assert own.find() is not None
    assert ProcessId(own.pid, own.started - 100).find() is None
