"""Commands of the local server and its deployments; heavy libraries come inside them."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.console import say
from flows.options import DEFAULT, Home, Overrides, Recipes, Root


def up(
    recipes: Recipes = [DEFAULT],  # noqa: B006  typer copies it
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
    [dim]cubecast up rain.yaml radar.yaml --detach[/]
    [dim]cubecast up my.yaml --root /data/java --port 0[/]
    """
    from flows.schedule import Request
    from flows.state import default_home

    request = Request(tuple(recipes), tuple(overrides or ()), root)
    request.products()  # refuses before a server is started
    from flows import server

    place = (home or default_home()).absolute()
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


def deploy(
    recipes: Recipes = [DEFAULT],  # noqa: B006  typer copies it
    overrides: Overrides = None,
    root: Root = None,
    home: Home = None,
) -> None:
    """Add recipes to a server: the one that PREFECT_API_URL names, or that of 'cubecast up'.

    [dim]cubecast deploy radar.yaml[/]
    [dim]PREFECT_API_URL=http://server:4200/api cubecast deploy --root /runs/java[/]
    """
    from flows.schedule import Request
    from flows.state import default_home

    request = Request(tuple(recipes), tuple(overrides or ()), root)
    request.products()  # refuses before heavy imports
    from flows import deployed
    from flows.connection import find_server
    from flows.launch import stopped_in_a_sentence

    url = find_server((home or default_home()).absolute())
    with stopped_in_a_sentence("what is deployed stays, and the rest is missing"):
        deployed.deploy(request, url, tell=lambda name: say(f"deployed {name}"))
    say(f"on {url}; a worker of the pool 'cubecast' runs them")


def deployments(
    remove: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Take away a deployment, or all of a recipe."),
    ] = None,
    home: Home = None,
) -> None:
    """List what a server runs by itself: recipe, schedule, next runs; or take it away.

    [dim]cubecast deployments[/]
    [dim]cubecast deployments --remove radar[/]
    [dim]cubecast deployments --remove forecast/every-5-minutes-radar[/]
    """
    from flows import deployed
    from flows.connection import connected, find_server
    from flows.state import default_home

    url = find_server((home or default_home()).absolute())
    with connected(url) as client:
        if remove is not None:
            for name in deployed.remove(remove, client):
                say(f"removed {name}")
            return
        found = deployed.list_deployed(client)
    some = "these" if found else "no"
    say(f"{url} has {some} deployments; 'cubecast deploy RECIPE' adds some")
    for line in deployed.describe_deployed(found):
        say(line)
