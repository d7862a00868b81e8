"""The command line ``cubecast``: one command a flow, and what surrounds them.

Heavy libraries are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer

from flows.cli_flows import (
    demo,
    evaluate,
    forecast,
    importance,
    ingest,
    path_to_str,
    train,
    validate_request,
)
from flows.cli_server import deploy, deployments, down, up
from flows.cli_store import clean, pictures, verify
from flows.console import console, stderr
from flows.options import (
    DEBUG,
    DEFAULT_RECIPE,
    OverridesOption,
    RecipeArgument,
    RootOption,
    is_debug,
    without_debug,
)

app = typer.Typer(
    name="cubecast",
    help="Archives of rasters in, forecasts of a whole country out.",
    epilog="Begin with: cubecast demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_REFUSED = 1
_INTERRUPTED = 130


def main() -> None:
    """Run the command line; what is refused is a message, not a traceback."""
    try:
        app(without_debug(sys.argv[1:]))
    except KeyboardInterrupt:
        stderr.print("stopped")
        sys.exit(_INTERRUPTED)
    except Exception as error:
        if is_debug():
            raise
        from flows.error_messages import refuse

        refuse(error)
        sys.exit(_REFUSED)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(installed_version("cubecast"), highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show it and leave."),
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show tracebacks and what Prefect does.")
    ] = False,
) -> None:
    """Take the options of every command."""


app.command()(demo)


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="Name of the recipe: letters, digits, '-'.")],
    archive: Annotated[
        Path | None, typer.Option(help="Folder of the rasters [default: the sample].")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where the recipe is written.")] = Path(),
    target: Annotated[
        str | None, typer.Option(help="Variable to forecast, not the one with most dates.")
    ] = None,
) -> None:
    """Write a commented recipe for a folder of rasters, from the names of its files.

    [dim]cubecast init rain --archive /data/chirps[/]
    [dim]cubecast init my-first-forecast[/]
    """
    from flows.init import init as run

    run(name, archive, folder, target)


@app.command()
def check(
    recipe: RecipeArgument = DEFAULT_RECIPE,
    overrides: OverridesOption = None,
    root: RootOption = None,
) -> None:
    """Check recipe and archive, and print the plan; nothing is written.

    [dim]cubecast check[/]
    [dim]cubecast check my.yaml --set archive.root=/data/chirps[/]
    """
    validate_request(recipe, overrides, root)
    from flows.check import check as run

    run(recipe, overrides or [], path_to_str(root))


@app.command()
def plan(
    recipe: RecipeArgument = DEFAULT_RECIPE,
    overrides: OverridesOption = None,
    root: RootOption = None,
    shape: Annotated[
        str | None, typer.Option(metavar="HEIGHTxWIDTH", help="Another grid than the recipe's.")
    ] = None,
) -> None:
    """Print the plans a forecast could follow: redundant work, reads, memory, tasks.

    [dim]cubecast plan[/]
    [dim]cubecast plan my.yaml --set compute.memory_gb=4[/]
    [dim]cubecast plan --shape 17111x40000 --set rollout.leads=12[/]
    """
    validate_request(recipe, overrides, root)
    from flows.plan import parse_shape
    from flows.plan import plan as run

    run(
        recipe,
        overrides or [],
        path_to_str(root),
        None if shape is None else parse_shape(shape),
    )


_FLOWS = (ingest, train, forecast, evaluate, importance)
_STORE = (verify, pictures, clean)
_SERVER = (up, down, deploy, deployments)
for _command in (*_FLOWS, *_STORE, *_SERVER):
    app.command()(_command)


@app.command()
def schema(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Every key with meaning, default and example.")
    ] = False,
) -> None:
    """Print the JSON schema of recipes, for editors; or all keys as a page to read.

    [dim]cubecast schema > deploy/recipes/recipe.schema.json[/]
    [dim]cubecast schema --markdown > docs/recipe.md[/]
    """
    from pipeline.recipes import recipe_schema
    from pipeline.recipes.reference import recipe_reference

    sys.stdout.write(recipe_reference() if markdown else recipe_schema())


if __name__ == "__main__":
    main()
