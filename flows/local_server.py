"""Server, worker and deployments of one home: started in order, supervised, stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError

from flows import deployment
from flows.connection import connect_to_server
from flows.deployment import DeploymentInfo, describe_deployed
from flows.lost_runs import mark_lost_runs_crashed
from flows.processes import ManagedProcess, ProcessId, owner_environment, stop_owned
from flows.schedule import POOL, DeployRequest
from flows.state import ServerState, remove_state
from stores.crash import crash_point

HOST = "127.0.0.1"  # no password guards the server, so nobody else may reach it

_HEALTHY_S = 120.0
_SCHEDULED_S = 60.0
_POLL_S = 1.0
_LOST_RUN_CHECK_S = 30.0  # between two looks for runs whose process is gone

Echo = Callable[[str], None]


class LocalServer:
    """Server and worker, with the folder and the address they share."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port
        self.url = f"http://{HOST}:{port}/api"
        python = [sys.executable, "-m", "prefect"]
        self.server = self._managed_process(
            "server", [*python, "server", "start", "--host", HOST, "--port", str(port)]
        )
        self.worker = self._managed_process(
            "worker",
            [*python, "worker", "start", "--pool", POOL, "--type", "process"],
        )
        # Nobody writes to it, and the kernel closes it when we die.
        self._pipe = os.pipe()
        self.watchdog = self._managed_process(
            "watchdog",
            [sys.executable, "-m", "flows.watchdog", str(home)],
            stdin=self._pipe[0],
        )

    def _managed_process(
        self, name: str, command: list[str], stdin: int = subprocess.DEVNULL
    ) -> ManagedProcess:
        logfile = self.home / "logs" / f"{name}.log"
        return ManagedProcess(name, command, self.environment, logfile, stdin=stdin)

    @property
    def environment(self) -> dict[str, str]:
        """Settings of server, worker and every run: a home of their own."""
        return {
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_PROFILE": "ephemeral",  # whatever the user has made active elsewhere
            "PREFECT_API_URL": self.url,
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            # So that `prefect deployment run --watch` shows what a run logs.
            "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",
            "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
            **owner_environment(self.home),
        }

    def start(self, request: DeployRequest, stopped: threading.Event, echo: Echo) -> None:
        """Start everything in order and say how to reach it."""
        echo(f"starting a Prefect server on {self.url} (home {self.home})")
        self.watchdog.start()
        self._write(ready=False)
        crash_point("up.watchdog")
        self.server.start()
        self._write(ready=False)
        crash_point("up.server")
        self._wait_until_healthy(stopped)
        with connect_to_server(self.url) as client:
            deployment.create_pool(client)
            mark_lost_runs_crashed(client, no_worker=True)
        crash_point("up.healthy")
        self.worker.start()
        self._write(ready=False)
        crash_point("up.worker")
        echo("applying the deployments")
        folder = self.home / "deployments"
        names = deployment.deploy(request, self.url, folder=folder, settings=self.environment)
        crash_point("up.deployed")
        found = self._wait_until_scheduled(stopped)
        for line in describe_deployed(found):
            echo(line)
        _print_usage(self.url, names, echo)
        self._write(ready=True)
        crash_point("up.ready")

    def supervise(self, stopped: threading.Event) -> None:
        """Restart what dies, and end runs that died with it, until a signal comes."""
        last_check = time.monotonic()
        while not stopped.wait(_POLL_S):
            children = (self.watchdog, self.server, self.worker)
            restarted = [child.restart_if_dead() for child in children]
            if any(restarted):
                self._write(ready=True)
            if time.monotonic() - last_check > _LOST_RUN_CHECK_S:
                self._end_lost_runs()
                last_check = time.monotonic()

    def _end_lost_runs(self) -> None:
        """Look once; a server that is just starting is looked at next time."""
        with suppress(ConnectionError):
            if _is_healthy(self.url):
                with connect_to_server(self.url) as client:
                    mark_lost_runs_crashed(client)

    def stop(self) -> None:
        """Stop the worker, then the server, and leave no trace but database and logs."""
        for child in (self.worker, self.server):
            child.stop()
        stop_owned(self.home)  # the watchdog, and runs that their worker left behind
        remove_state(self.home)

    def _write(self, *, ready: bool) -> None:
        process_ids = [
            process_id
            for child in (self.server, self.worker)
            if (process_id := child.process_id)
        ]
        ServerState(self.url, ProcessId.from_pid(os.getpid()), process_ids, ready).write(
            self.home
        )

    def _wait_until_healthy(self, stopped: threading.Event) -> None:
        deadline = time.monotonic() + _HEALTHY_S
        while not _is_healthy(self.url):
            if stopped.wait(0.2):
                raise KeyboardInterrupt
            if self.server.process_id is None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"the Prefect server did not answer on {self.url}; "
                    f"{self.server.logfile} ends:\n{self.server.log_tail()}"
                )

    def _wait_until_scheduled(self, stopped: threading.Event) -> list[DeploymentInfo]:
        deadline = time.monotonic() + _SCHEDULED_S
        while True:
            with connect_to_server(self.url) as client:
                found = deployment.list_deployed(client)
            missing = [entry.name for entry in found if entry.lacks_scheduled_runs]
            if found and not missing:
                return found
            if stopped.wait(0.5):
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"no runs of {', '.join(missing) or 'any deployment'} were scheduled in "
                    f"{_SCHEDULED_S:.0f} s, so nothing would ever start; compare SQLAlchemy "
                    f"and fastapi with constraints.txt, and see {self.server.logfile}"
                )


def _print_usage(url: str, names: list[str], echo: Echo) -> None:
    """Print how another shell reaches the server; the user's Prefect profile stays as it is."""
    forecast = next(name for name in names if name.startswith("forecast/"))
    echo(f"pages: {url.removesuffix('/api')}")
    echo("to start a run now, in any shell:")
    echo(f"  export PREFECT_API_URL={url}")
    echo(f"  prefect deployment run {forecast} --watch")


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, TimeoutError, ConnectionError):
        return False
