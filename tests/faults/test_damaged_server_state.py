"""A ``server.json`` that says anything stops no command without naming it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import cli, server
from flows.connection import find_server
from flows.processes import ProcessId, owner_environment
from flows.schedule import DeployRequest
from flows.server import down
from flows.state import ServerState, state_file
from stores.errors import CorruptError

N_CASES = 300
SOUND = ServerState(
    "http://127.0.0.1:4200/api", ProcessId(2**30, 1.5), [ProcessId(2**30 + 1, 2.5)], ready=True
)
VALUES: list[Any] = [
    *(None, True, -1, 0, 2**40, 10**400, 0.5, float("nan"), float("inf")),
    *("", "x", "\0", "http://127.0.0.1:99999/api", "http://0.0.0.0:4200/api"),
    *([], {}, [[]], {"pid": 1}, "\ud800", "a" * 500),
]


@pytest.fixture(autouse=True)
def unset() -> Iterator[None]:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


def sound() -> dict[str, Any]:
    mark = {"pid": 2**30, "started": 1.5}
    return {"url": SOUND.url, "owner": dict(mark), "members": [dict(mark)], "ready": True}


def change_value(draw: random.Random) -> bytes:
    """Put another value, or none, in a place at any depth."""
    content = sound()
    slots: list[tuple[Any, Any]] = [(content, key) for key in content]
    slots += [(content["owner"], key) for key in content["owner"]]
    slots += [(content["members"], 0), (content["members"][0], "pid")]
    holder, key = draw.choice(slots)
    if draw.random() < 0.2:
        del holder[key]
    else:
        holder[key] = draw.choice(VALUES)
    return json.dumps(content).encode("utf-8", "surrogatepass")


def cut(draw: random.Random) -> bytes:
    whole = json.dumps(sound()).encode()
    return whole[: draw.randrange(len(whole))]


def turn_bytes(draw: random.Random) -> bytes:
    content = bytearray(json.dumps(sound()).encode())
    for _ in range(draw.randint(1, 8)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)


def other_json(draw: random.Random) -> bytes:
    return json.dumps(draw.choice([*VALUES, [sound()]])).encode("utf-8", "surrogatepass")


def noise(draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice([1, 40, 3000]))


DAMAGES: list[Callable[[random.Random], bytes]] = [
    *(change_value, cut, turn_bytes, other_json, noise)
]
ODD = [b"", b" ", b"[" * 90_000, b"{" * 90_000, b"\xef\xbb\xbf{}", b"1" * 99_000, b"NaN"]


def cases() -> Iterator[bytes]:
    draw = random.Random(11)
    yield from ODD
    for n in range(N_CASES):
        yield DAMAGES[n % len(DAMAGES)](draw)


def refusal_of(home: Path) -> str:
    """Return the sentence by which a state is refused; "" where it is read."""
    try:
        state = ServerState.read(home)
    except CorruptError as error:
        return str(error)
    assert state is not None
    assert state.url.startswith("http://127.0.0.1:")
    assert not state.is_alive
    return ""


def test_any_state_is_read_or_refused_by_name_and_down_works(tmp_path: Path) -> None:
    path = state_file(tmp_path)
    n_refused = 0
    for content in cases():
        path.write_bytes(content)
        began = time.monotonic()
        if message := refusal_of(tmp_path):
            n_refused += 1
            assert str(path) in message
            assert "cubecast down" in message
            assert len(message) < 600
        with pytest.raises((CorruptError, ConnectionError), match=r"cubecast up"):
            find_server(tmp_path)
        assert not down(tmp_path)
        assert not path.exists()
        assert time.monotonic() - began < 2
    assert n_refused > 0.8 * N_CASES  # not trivial


def test_a_huge_state_is_refused_unread(tmp_path: Path) -> None:
    with state_file(tmp_path).open("wb") as huge:
        huge.truncate(2**40)  # sparse
    with pytest.raises(CorruptError, match="it has 1099511627776 bytes"):
        ServerState.read(tmp_path)
    assert not down(tmp_path)


def test_what_is_no_file_is_named_and_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "handle_interrupts", nullcontext)  # leaves signals alone
    path = state_file(tmp_path)
    os.mkfifo(path)  # reading it would wait for ever
    with pytest.raises(CorruptError, match="it is no file"):
        ServerState.read(tmp_path)
    assert not down(tmp_path)
    path.mkdir()
    with pytest.raises(CorruptError, match="it is no file"):
        find_server(tmp_path)
    assert not down(tmp_path)
    with pytest.raises(CorruptError, match=r"server.json is a folder .* move it away"):
        server.up(DeployRequest(), home=tmp_path, port=0, echo=print)
    assert path.is_dir()


def test_a_state_that_names_processes_of_others_ends_none_of_them(tmp_path: Path) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    other = subprocess.Popen(sleep)
    ours = subprocess.Popen(sleep, env=os.environ | owner_environment(tmp_path))
    elsewhere = subprocess.Popen(sleep, env=os.environ | owner_environment(tmp_path / "else"))
    try:
        mark = ProcessId.from_pid(other.pid)
        ServerState(SOUND.url, mark, [mark, ProcessId(os.getpid(), mark.started)]).write(
            tmp_path
        )
        assert down(tmp_path)
        assert ours.poll() is not None
        assert other.poll() is None
        assert elsewhere.poll() is None
    finally:
        for process in (other, ours, elsewhere):
            process.kill()
            process.wait()


def test_the_command_names_the_file_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state_file(tmp_path).write_text("{")
    outcomes = {}
    for command in ("deployments", "down"):
        monkeypatch.setattr(sys, "argv", ["cubecast", command, "--home", str(tmp_path)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        outcomes[command] = (left.value.code, "".join(capsys.readouterr()))
    code, text = outcomes["deployments"]
    assert code == 1
    assert text.startswith(f"refused: {state_file(tmp_path)} does not say which server is up")
    assert len(text.splitlines()) == 1
    assert outcomes["down"] == (0, "nothing was up\n")
