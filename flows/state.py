"""What ``cubecast up`` has running, as its own file says; known without importing Prefect."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flows.processes import ProcessId
from stores.errors import CorruptError
from stores.files import read_json, write_json

_ADDRESS = re.compile(r"http://127\.0\.0\.1:([0-9]{1,5})/api")
_MAX_BYTES = 100_000  # a hundred times what is written
_MAX_PID = 2**31
_MAX_PORT = 2**16


@dataclass(frozen=True, slots=True)
class ServerState:
    """What is running: written to ``server.json``, so that other commands find it."""

    url: str
    owner: ProcessId
    members: list[ProcessId] = field(default_factory=list)
    ready: bool = False

    @classmethod
    def read(cls, home: Path) -> ServerState | None:
        """Read the state that a server of ``home`` left, if any.

        Raises:
            CorruptError: the file holds something else.
        """
        path = state_file(home)
        try:
            _check_kind(path)
            return _parse(read_json(path))
        except FileNotFoundError:
            return None
        except (OSError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise CorruptError(
                f"{path} does not say which server is up ({_reason(error)}), so it cannot be "
                "found; stop whatever is up with 'cubecast down', remove that path if it is "
                "still there, and start anew with 'cubecast up'"
            ) from None

    def write(self, home: Path) -> None:
        """Write the state."""
        write_json(state_file(home), asdict(self))

    @property
    def is_alive(self) -> bool:
        """Check whether the process that supervises the server lives."""
        return self.owner.find() is not None


def state_file(home: Path) -> Path:
    """Return the file of the state."""
    return home / "server.json"


def check_state_path(home: Path) -> None:
    """Refuse a folder in the place of the state, which nobody may replace.

    Raises:
        CorruptError: there is one.
    """
    if (path := state_file(home)).is_dir():
        raise CorruptError(
            f"{path} is a folder where the file of the server's state belongs, so no command "
            "could find a server; move it away"
        )


def remove_state(home: Path) -> None:
    """Remove the state, whatever it says; a folder in its place is not ours to remove."""
    if not state_file(home).is_dir():
        state_file(home).unlink(missing_ok=True)


def default_home() -> Path:
    """Return the folder of the server's database, logs and state."""
    return Path(os.environ.get("CUBECAST_HOME", "~/.cubecast")).expanduser()


def _check_kind(path: Path) -> None:
    """Refuse what would take for ever to read."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise TypeError("it is no file")
    if found.st_size > _MAX_BYTES:
        raise ValueError(f"it has {found.st_size} bytes")


def _parse(written: Any) -> ServerState:
    url = written["url"]
    ready = written["ready"]
    members = written["members"]
    address = _ADDRESS.fullmatch(str(url))
    if address is None or int(address[1]) >= _MAX_PORT:
        raise ValueError(f"url={str(url)[:40]!r} is no address of this machine")
    if not isinstance(ready, bool) or not isinstance(members, list):
        raise TypeError("'ready' or 'members' is of another type")
    return ServerState(
        address[0],
        _parse_process_id(written["owner"]),
        [*map(_parse_process_id, members)],
        ready,
    )


def _parse_process_id(written: Any) -> ProcessId:
    pid = written["pid"]
    started = written["started"]
    if type(pid) is not int or not 0 < pid < _MAX_PID or type(started) is not float:
        raise ValueError("a process is not a number and a time")
    return ProcessId(pid, started)


def _reason(error: BaseException) -> str:
    """Describe what is wrong in a few words."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return f"{error}"[:120] or error.__class__.__name__
