"""Commands of the local server and its deployments; heavy libraries come inside them."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.console import echo
from flows.options import (
    DEFAULT_RECIPE,
    HomeOption,
    OverridesOption,
    RecipeArguments,
    RootOption,
)


def up(
    recipes: RecipeArguments = [DEFAULT_RECIPE],  # noqa: B006  typer copies it
    overrides: OverridesOption = None,
    root: RootOption = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of the server; 0 takes a free one."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background.")] = False,
    home: HomeOption = None,
) -> None:
    """Start a local Prefect server with a worker and the scheduled deployments.

    [dim]cubecast up[/]
    [dim]cubecast up rain.yaml radar.yaml --detach[/]
    [dim]cubecast up my.yaml --root /data/java --port 0[/]
    """
    from flows.schedule import DeployRequest
    from flows.state import default_home

    request = DeployRequest(tuple(recipes), tuple(overrides or ()), root)
    request.products()  # refuses before a server is started
    from flows import server

    home_path = (home or default_home()).absolute()
    start = server.up_detached if detach else server.up
    start(request, home=home_path, port=port, echo=echo)


def down(home: HomeOption = None) -> None:
    """Stop what 'cubecast up' started, even after a crash of it.

    [dim]cubecast down[/]
    """
    from flows import server
    from flows.state import default_home

    home_path = (home or default_home()).absolute()
    echo(f"stopped the server of {home_path}" if server.down(home_path) else "nothing was up")


def deploy(
    recipes: RecipeArguments = [DEFAULT_RECIPE],  # noqa: B006  typer copies it
    overrides: OverridesOption = None,
    root: RootOption = None,
    home: HomeOption = None,
) -> None:
    """Add recipes to a server: the one that PREFECT_API_URL names, or that of 'cubecast up'.

    [dim]cubecast deploy radar.yaml[/]
    [dim]PREFECT_API_URL=http://server:4200/api cubecast deploy --root /runs/java[/]
    """
    from flows.schedule import DeployRequest
    from flows.state import default_home

    request = DeployRequest(tuple(recipes), tuple(overrides or ()), root)
    request.products()  # refuses before heavy imports
    from flows import deployment
    from flows.connection import find_server

    url = find_server((home or default_home()).absolute())
    for name in deployment.deploy(request, url):
        echo(f"deployed {name}")
    echo(f"on {url}; a worker of the pool 'cubecast' runs them")


def deployments(
    remove: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Take away a deployment, or all of a recipe."),
    ] = None,
    home: HomeOption = None,
) -> None:
    """List what a server runs by itself: recipe, schedule, next runs; or take it away.

    [dim]cubecast deployments[/]
    [dim]cubecast deployments --remove radar[/]
    [dim]cubecast deployments --remove forecast/every-5-minutes-radar[/]
    """
    from flows import deployment
    from flows.connection import connect_to_server, find_server
    from flows.state import default_home

    url = find_server((home or default_home()).absolute())
    with connect_to_server(url) as client:
        if remove is not None:
            for name in deployment.remove(remove, client):
                echo(f"removed {name}")
            return
        found = deployment.list_deployed(client)
    some = "these" if found else "no"
    echo(f"{url} has {some} deployments; 'cubecast deploy RECIPE' adds some")
    for line in deployment.describe_deployed(found):
        echo(line)
