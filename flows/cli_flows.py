"""Commands that run a flow; heavy libraries come inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.console import configure_logging
from flows.launch import launch
from flows.options import (
    DEFAULT_RECIPE,
    InitOption,
    OverridesOption,
    RecipeArgument,
    RootOption,
    is_debug,
)

_STEPS_NOTE = "what the steps before have finished"


def demo(
    root: Annotated[Path, typer.Option(help="Folder that is written.")] = Path("demo"),
    overrides: OverridesOption = None,
) -> None:
    """Run the whole job on the sample archive: ingest, train, evaluate, forecast.

    [dim]cubecast demo[/]
    [dim]cubecast demo --root /tmp/demo --set training.epochs=3[/]
    """
    validate_request(DEFAULT_RECIPE, overrides, root)
    from flows.demo import demo as run

    launch(
        run,
        interrupt_note=_STEPS_NOTE,
        recipe=DEFAULT_RECIPE,
        overrides=overrides or [],
        root=str(root),
    )


def ingest(
    recipe: RecipeArgument = DEFAULT_RECIPE,
    overrides: OverridesOption = None,
    root: RootOption = None,
) -> None:
    """Bring the cube up to date with its archive.

    [dim]cubecast ingest[/]
    [dim]cubecast ingest my.yaml --set archive.gaps=accept[/]
    """
    validate_request(recipe, overrides, root)
    from flows.ingest import ingest as run

    launch(
        run,
        interrupt_note="frames that are written stay, and readers of the cube see what they "
        "saw before",
        recipe=recipe,
        overrides=overrides or [],
        root=path_to_str(root),
    )


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
    validate_request(recipe, overrides, root)
    kept = "the training is kept up to its last saved step"
    given: dict[str, Any] = {"recipe": recipe, "overrides": overrides or []}
    if sweep:
        from flows.sweep import sweep as compare

        launch(compare, interrupt_note=kept, **given, root=path_to_str(root), values=sweep)
    else:
        from flows.train import train as run

        launch(run, interrupt_note=kept, **given, root=path_to_str(root))


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
    validate_request(recipe, overrides, root, init)
    from flows.forecast import forecast as run

    launch(
        run,
        interrupt_note="finished tiles stay in the staging folder, and nothing was published",
        recipe=recipe,
        overrides=overrides or [],
        root=path_to_str(root),
        init=init,
        leads=leads,
        bundle=bundle,
        prepare=prepare,
    )


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
    validate_request(recipe, overrides, root)
    from flows.evaluate import evaluate as run

    launch(
        run,
        interrupt_note="the scores of before; what was scored now begins anew",
        recipe=recipe,
        overrides=overrides or [],
        root=path_to_str(root),
        bundle=bundle,
    )


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
    validate_request(recipe, overrides, root)
    from flows.importance import importance as run

    launch(
        run,
        interrupt_note="the importances of before; what was measured now begins anew",
        recipe=recipe,
        overrides=overrides or [],
        root=path_to_str(root),
        bundle=bundle,
        repeats=repeats,
        seed=seed,
    )


def validate_request(
    recipe: str, overrides: list[str] | None, root: Path | None, init: str | None = None
) -> None:
    """Refuse a wrong recipe or init before heavy imports; then make ready for a flow."""
    from flows.resolve import check_init, open_recipe

    open_recipe(recipe, overrides, path_to_str(root))
    check_init(init)
    configure_logging(debug=is_debug())


def path_to_str(path: Path | None) -> str | None:
    """Return a path as flows take it."""
    return None if path is None else str(path)
