from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from flows import connection, launch
from flows.connection import check_server, connect_to_server
from tests.flows.test_server import environment_in, free_port


class Stopping(BaseHTTPRequestHandler):
    """Answers one request as a healthy server, and those after it as one that stops."""

    status: int | None = None
    n_answered = 0

    def do_GET(self) -> None:
        type(self).n_answered += 1
        if self.n_answered > 1 and self.status is None:
            self.close_connection = True  # no answer
            return
        self.send_response(200 if self.n_answered == 1 else self.status or 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    handler = type("Handler", (Stopping,), {"status": getattr(request, "param", None)})
    with HTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, args=[0.02], daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/api"
        web.shutdown()


@pytest.mark.parametrize("url", [None, 401, 500], indirect=True)
def test_a_server_that_stops_while_it_is_asked_is_told_in_a_sentence(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_RETRIES", 0)

    def ask() -> None:
        with connect_to_server(url) as client:
            client.hello()
            client.read_flows()

    with pytest.raises(ConnectionError, match=f"{url} does not answer .* or in part"):
        ask()


def test_a_run_is_not_begun_on_a_server_that_is_not_there() -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    with pytest.raises(
        ConnectionError, match=f"{url} does not answer .* unset PREFECT_API_URL"
    ):
        check_server(url)


def test_a_run_whose_server_is_lost_ends_in_a_sentence_and_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose() -> None:
        raise httpx.ReadError("")

    monkeypatch.setattr(connection, "check_server", lambda url: None)
    monkeypatch.setattr(launch, "_exit_now", sys.exit)  # does not wait for Prefect's good-byes
    with pytest.raises(SystemExit) as left:
        launch._run_on_server("http://127.0.0.1:1/api", lose, {})  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert left.value.code == 1
    assert said.startswith(
        "refused: the server http://127.0.0.1:1/api does not answer (ReadErr"
    )
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_commands_say_in_a_sentence_that_the_server_of_a_profile_is_dead(
    tmp_path: Path,
) -> None:
    environment = environment_in(tmp_path)
    url = f"http://127.0.0.1:{free_port()}/api"
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "profiles.toml").write_text(
        f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{url}"\n'
    )
    for words in (["ingest", "rainfall-java", "--root", str(tmp_path)], ["deployments"]):
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 1
        assert done.stderr.startswith(f"refused: the server {url} does not answer")
        assert len(done.stderr.splitlines()) == 1
