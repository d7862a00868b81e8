"""Which Prefect server is meant, and a connection to it that ends in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from flows.state import ServerState

_RETRIES = 1  # somebody waits: by default, a server that stopped is asked for a minute
_RETRIES_OF_A_RUN = 3  # 14 s: 'cubecast up' starts a server that died again in less
_UNAUTHORIZED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


class ServerLostError(ConnectionError):
    """A Prefect server does not answer, or lets nobody in."""


def find_server(home: Path) -> str:
    """Find the server that is meant: the one that is set, else the one of ``cubecast up``.

    Raises:
        ConnectionError: there is neither.
    """
    if url := PREFECT_API_URL.value():
        return str(url)
    state = ServerState.read(home)
    if state is not None and state.is_alive:
        return state.url
    raise ConnectionError(
        f"PREFECT_API_URL is not set and no server of {home} is up, so there is no server to "
        "ask; set it, or start a server of your own with 'cubecast up'"
    )


@contextmanager
def connect_to_server(url: str) -> Iterator[SyncPrefectClient]:
    """Connect to a server with the credentials that Prefect's settings hold.

    Raises:
        ServerLostError: it does not answer, or lets nobody in.
    """
    auth = PREFECT_API_AUTH_STRING.value()
    key = PREFECT_API_KEY.value()
    consequence = (
        "so what was asked of it is not done, or in part; start it, or correct "
        "PREFECT_API_URL, and run the same command again"
    )
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: _RETRIES}),
        _reraise_lost_server(url, consequence),
    ):
        client = SyncPrefectClient(
            url,
            auth_string=auth.get_secret_value() if auth else None,
            api_key=key.get_secret_value() if key else None,
        )
        with client:
            yield client


def check_server(url: str) -> None:
    """Refuse a server that is not there before any work begins.

    Raises:
        ConnectionError: it does not answer.
    """
    with connect_to_server(url) as client:
        error = client.api_healthcheck()
    if isinstance(error, httpx.TransportError):
        raise ConnectionError(
            f"the server {url} does not answer ({_reason(error)}), so nobody would see this "
            "run and nothing was started; start it, or unset PREFECT_API_URL (here or in your "
            "Prefect profile) to run without a server"
        )


@contextmanager
def reraise_lost_server(url: str) -> Iterator[None]:
    """Run the body on a server, and raise in a sentence when that is lost meanwhile.

    Raises:
        ServerLostError: it does not answer any more.
    """
    consequence = (
        "so it does not know how this run went on; what is written is whole: run the same "
        "command again, or unset PREFECT_API_URL to run without a server"
    )
    retries = {PREFECT_CLIENT_MAX_RETRIES: _RETRIES_OF_A_RUN}
    with temporary_settings(retries), _reraise_lost_server(url, consequence):
        yield


@contextmanager
def _reraise_lost_server(url: str, consequence: str) -> Iterator[None]:
    """Raise in a sentence that a server is gone or lets nobody in, and what follows from it.

    Raises:
        ServerLostError: it is, or does.
    """
    try:
        yield
    except httpx.TransportError as error:
        reason = _reason(error)
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status < httpx.codes.INTERNAL_SERVER_ERROR and status not in _UNAUTHORIZED:
            raise
        reason = f"{status} {error.response.reason_phrase}"
    else:
        return
    raise ServerLostError(f"the server {url} does not answer ({reason}), {consequence}")


def _reason(error: Exception) -> str:
    return str(error) or error.__class__.__name__
