"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT = "rainfall-java"
"""The recipe of the sample."""

Recipe = Annotated[
    str, typer.Argument(help="A YAML file, or the name of one in deploy/recipes.")
]
Recipes = Annotated[
    list[str],
    typer.Argument(
        metavar="[RECIPE]...", help="YAML files, or names of some in deploy/recipes."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe; repeat it."),
]
Root = Annotated[
    Path | None, typer.Option(help="Folder of cube, models and issues, not the recipe's.")
]
Home = Annotated[
    Path | None,
    typer.Option(help="Folder of the server's database and logs.", show_default="~/.cubecast"),
]
Init = Annotated[
    str | None,
    typer.Option(help="Last observed time that the forecast knows, as in 2017-12."),
]
