"""The command line ``cubecast``: one command a flow, and what surrounds them.

Heavy libraries are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli_server import deploy, deployments, down, up
from flows.cli_store import clean, pictures, verify
from flows.console import configure_logging, console, stderr
from flows.launch import launch
from flows.options import (
    DEFAULT_RECIPE,
    InitOption,
    OverridesOption,
    RecipeArgument,
    RootOption,
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
_DEBUG = "--debug"

_STEPS_NOTE = "what the steps before have finished"


def main() -> None:
    """Run the command line; what is refused is a message, not a traceback."""
    try:
        app(_without_debug(sys.argv[1:]))
    except KeyboardInterrupt:
        stderr.print("stopped")
        sys.exit(_INTERRUPTED)
    except Exception as error:
        if _is_debug():
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
        bool, typer.Option(_DEBUG, help="Show tracebacks and what Prefect does.")
    ] = False,
) -> None:
    """Take the options of every command."""


@app.command()
def demo(
    root: Annotated[Path, typer.Option(help="Folder that is written.")] = Path("demo"),
    overrides: OverridesOption = None,
) -> None:
    """Run the whole job on the sample archive: ingest, train, evaluate, forecast.

    [dim]cubecast demo[/]
    [dim]cubecast demo --root /tmp/demo --set training.epochs=3[/]
    """
    _validate_request(DEFAULT_RECIPE, overrides, root)
    from flows.demo import demo as run

    launch(
        run,
        interrupt_note=_STEPS_NOTE,
        recipe=DEFAULT_RECIPE,
        overrides=overrides or [],
        root=str(root),
    )


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
    _validate_request(recipe, overrides, root)
    from flows.check import check as run

    run(recipe, overrides or [], _path_to_str(root))


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
    _validate_request(recipe, overrides, root)
    from flows.plan import parse_shape
    from flows.plan import plan as run

    run(
        recipe,
        overrides or [],
        _path_to_str(root),
        None if shape is None else parse_shape(shape),
    )


@app.command()
def ingest(
    recipe: RecipeArgument = DEFAULT_RECIPE,
    overrides: OverridesOption = None,
    root: RootOption = None,
) -> None:
    """Bring the cube up to date with its archive.

    [dim]cubecast ingest[/]
    [dim]cubecast ingest my.yaml --set archive.gaps=accept[/]
    """
    _validate_request(recipe, overrides, root)
    from flows.ingest import ingest as run

    launch(
        run,
        interrupt_note="frames that are written stay, and readers of the cube see what they "
        "saw before",
        recipe=recipe,
        overrides=overrides or [],
        root=_path_to_str(root),
    )


@app.command()
def train(
    recipe: RecipeArgument = DEFAULT_RECIPE,
    overrides: OverridesOption = None,
    root: RootOption = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE,VALUE", help="Compare values of a key; repeat it."),
    ] = None,
) -> None:
    """Train a model on the cube and keep it as a bundle.

    [dim]cubecast train[/]
    [dim]cubecast train my.yaml --set training.epochs=2 --set compute.workers=4[/]

    Several seeds, of which the best becomes current; all of them make an ensemble:

    [dim]cubecast train my.yaml --set training.runs=5[/]

    Every combination of values, ranked by the validation part; nothing becomes current:

    [dim]cubecast train my.yaml --sweep model.hidden=[8],[16] --sweep training.lr=1e-3,3e-4[/]
    """
    _validate_request(recipe, overrides, root)
    kept = "the training is kept up to its last saved step"
    given: dict[str, Any] = {"recipe": recipe, "overrides": overrides or []}
    if sweep:
        from flows.sweep import sweep as compare

        launch(compare, interrupt_note=kept, **given, root=_path_to_str(root), values=sweep)
    else:
        from flows.train import train as run

        launch(run, interrupt_note=kept, **given, root=_path_to_str(root))


@app.command()
def forecast(  # noqa: PLR0913  one parameter an option
    recipe: RecipeArgument = DEFAULT_RECIPE,
    init: InitOption = None,
    leads: Annotated[int | None, typer.Option(min=1, help="Steps ahead.")] = None,
    bundle: Annotated[str | None, typer.Option(help="Name of a model, not the newest.")] = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Ingest and train first, where that is missing.")
    ] = False,
    overrides: OverridesOption = None,
    root: RootOption = None,
) -> None:
    """Publish a forecast; the same request twice publishes one issue.

    [dim]cubecast forecast --init 2018-06 --leads 12[/]
    [dim]cubecast forecast my.yaml --prepare --root /data/java[/]
    """
    _validate_request(recipe, overrides, root, init)
    from flows.forecast import forecast as run

    launch(
        run,
        interrupt_note="finished tiles stay in the staging folder, and nothing was published",
        recipe=recipe,
        overrides=overrides or [],
        root=_path_to_str(root),
        init=init,
        leads=leads,
        bundle=bundle,
        prepare=prepare,
    )


@app.command()
def evaluate(
    recipe: RecipeArgument = DEFAULT_RECIPE,
    bundle: Annotated[str | None, typer.Option(help="Name of a model, not the newest.")] = None,
    overrides: OverridesOption = None,
    root: RootOption = None,
) -> None:
    """Score a model on the untouched test part, against simple forecasts.

    [dim]cubecast evaluate[/]
    [dim]cubecast evaluate my.yaml --root /data/java[/]
    """
    _validate_request(recipe, overrides, root)
    from flows.evaluate import evaluate as run

    launch(
        run,
        interrupt_note="the scores of before; what was scored now begins anew",
        recipe=recipe,
        overrides=overrides or [],
        root=_path_to_str(root),
        bundle=bundle,
    )


@app.command()
def importance(
    recipe: RecipeArgument = DEFAULT_RECIPE,
    bundle: Annotated[str | None, typer.Option(help="Name of a model, not the newest.")] = None,
    repeats: Annotated[int, typer.Option(min=2, help="Permutations of each covariate.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the permutations.")] = 0,
    overrides: OverridesOption = None,
    root: RootOption = None,
) -> None:
    """Find out which covariates help a model: permute each on the validation part.

    [dim]cubecast importance[/]
    [dim]cubecast importance my.yaml --repeats 5 --root /data/java[/]
    """
    _validate_request(recipe, overrides, root)
    from flows.importance import importance as run

    launch(
        run,
        interrupt_note="the importances of before; what was measured now begins anew",
        recipe=recipe,
        overrides=overrides or [],
        root=_path_to_str(root),
        bundle=bundle,
        repeats=repeats,
        seed=seed,
    )


for _command in (verify, pictures, clean, up, down, deploy, deployments):
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


def _validate_request(
    recipe: str, overrides: list[str] | None, root: Path | None, init: str | None = None
) -> None:
    """Refuse a wrong recipe or init before heavy imports; then make ready for a flow."""
    from flows.resolve import check_init, open_recipe

    open_recipe(recipe, overrides, _path_to_str(root))
    check_init(init)
    configure_logging(debug=_is_debug())


def _without_debug(words: list[str]) -> list[str]:
    """Leave out ``--debug``, which may stand before or behind the command."""
    return [word for word in words if word != _DEBUG]


def _is_debug() -> bool:
    return _DEBUG in sys.argv[1:]


def _path_to_str(path: Path | None) -> str | None:
    return None if path is None else str(path)


if __name__ == "__main__":
    main()
