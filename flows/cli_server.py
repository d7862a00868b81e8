"""Commands of the local server and its deployments; heavy libraries come inside them."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.console import say
from flows.options import DEFAULT, Home, Overrides, Recipe, Root


def up(
    recipe: Recipe = DEFAULT,
    overrides: Overrides = None,
    root: Root = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of the server; 0 takes a free one."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background.")] = False,
    home: Home = None,
) -> None:
    """Start a local Prefect server with a worker and the scheduled deployments.

    [dim]cubecast up[/]
    [dim]cubecast up --detach && prefect deployment run forecast/monthly --watch[/]
    [dim]cubecast up my.yaml --root /data/java --port 0[/]
    """
    from flows import server
    from flows.schedule import Request
    from flows.state import default_home

    place = (home or default_home()).absolute()
    request = Request(recipe, tuple(overrides or ()), root)
    start = server.up_detached if detach else server.up
    start(request, home=place, port=port, say=say)


def down(home: Home = None) -> None:
    """Stop what 'cubecast up' started, even after a crash of it.

    [dim]cubecast down[/]
    """
    from flows import server
    from flows.state import default_home

    place = (home or default_home()).absolute()
    say(f"stopped the server of {place}" if server.down(place) else "nothing was up")


def deploy(recipe: Recipe = DEFAULT, overrides: Overrides = None, root: Root = None) -> None:
    """Apply the deployments to the server that PREFECT_API_URL names.

    [dim]PREFECT_API_URL=http://server:4200/api cubecast deploy --root /runs/java[/]
    """
    from flows.schedule import Request, deploy_to_active

    deploy_to_active(Request(recipe, tuple(overrides or ()), root))
    say("deployed; a worker of the pool 'cubecast' runs them")
