"""What ``cubecast up`` has running, as its own file says; known without importing Prefect."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from flows.children import Mark
from stores.files import read_json, write_json


@dataclass(frozen=True, slots=True)
class State:
    """What is running: written to ``server.json``, so that ``down`` finds it."""

    url: str
    owner: Mark
    members: list[Mark] = field(default_factory=list)
    ready: bool = False

    @classmethod
    def read(cls, home: Path) -> State | None:
        """Read the state that a server of ``home`` left, if any."""
        try:
            written = read_json(state_file(home))
            members = [Mark(**mark) for mark in written["members"]]
            return cls(**written | {"owner": Mark(**written["owner"]), "members": members})
        except FileNotFoundError:
            return None

    def write(self, home: Path) -> None:
        """Write the state."""
        write_json(state_file(home), asdict(self))

    @property
    def is_alive(self) -> bool:
        """Tell whether the process that looks after the server lives."""
        return self.owner.find() is not None


def state_file(home: Path) -> Path:
    """Name the file of the state."""
    return home / "server.json"


def default_home() -> Path:
    """Name the folder of the server's database, logs and state."""
    return Path(os.environ.get("CUBECAST_HOME", "~/.cubecast")).expanduser()
