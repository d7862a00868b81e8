"""Commands that look after a store; heavy libraries come inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.options import DEFAULT_RECIPE

_DAMAGED = 1


def verify(
    stores: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE_OR_FOLDER",
            help="Recipes, whose stores count; or folders of issues, bundles, cubes or stores.",
        ),
    ],
    sample: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the files that are read, e.g. 0.1.")
    ] = 1,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept", help="First let issues that are gone or came count as they are."
        ),
    ] = False,
) -> None:
    """Check every byte of cube, models and issues against what was ingested and published.

    [dim]cubecast verify demo/issues/rainfall-java/2017-12[/]
    [dim]cubecast verify demo --sample 0.1[/]
    [dim]cubecast verify my.yaml[/]
    """
    from flows.resolve import named_recipe
    from flows.verify import verify as run

    recipes = {store: named_recipe(store) for store in stores}
    paths = [recipe.root if recipe else Path(store) for store, recipe in recipes.items()]
    if not run(paths, sample=sample, accept=accept):
        raise typer.Exit(_DAMAGED)


def pictures(
    issues: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE_OR_ISSUE",
            help="Recipes, whose newest issue counts; or folders of published issues.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder that is written; beside the issues by default.")
    ] = None,
    dpi: Annotated[int, typer.Option(min=20, max=600, help="Of figures 10 inches wide.")] = 80,
) -> None:
    """Draw a map per date, an animation (GIF; MP4 where ffmpeg is), and forecast beside truth.

    [dim]cubecast pictures my.yaml[/]
    [dim]cubecast pictures demo/issues/rainfall-java/2017-12 --out slides --dpi 160[/]
    [dim]cubecast pictures demo/issues/rainfall-java/*[/]
    """
    from flows.pictures import draw, find_issues

    draw(find_issues(issues), out, dpi)


def clean(
    store: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE_OR_ROOT", help="A recipe, whose outputs.keep counts, or a folder."
        ),
    ] = DEFAULT_RECIPE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go; nothing is written.")
    ] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Nothing younger goes, e.g. 7d or 12h.")
    ] = None,
    keep_revisions: Annotated[
        int | None, typer.Option(min=1, help="Revisions of one init that stay.")
    ] = None,
    keep_bundles: Annotated[
        int | None, typer.Option(min=0, help="Bundles that stay though nobody refers to them.")
    ] = None,
) -> None:
    """Remove what runs that died left behind; published things go only when you say so.

    [dim]cubecast clean demo --dry-run[/]
    [dim]cubecast clean my.yaml --older-than 30d --keep-revisions 2 --keep-bundles 3[/]
    """
    from flows.clean import clean as run

    run(
        store,
        dry_run=dry_run,
        older_than=older_than,
        keep_revisions=keep_revisions,
        keep_bundles=keep_bundles,
    )
