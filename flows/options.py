"""Arguments and options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

SET = "--set"
DEBUG = "--debug"
DEFAULT_RECIPE = "rainfall-java"
"""The recipe of the sample."""

RecipeArgument = Annotated[
    str, typer.Argument(help="A YAML file, or the name of one in deploy/recipes.")
]
RecipeArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="[RECIPE]...", help="YAML files, or names of some in deploy/recipes."
    ),
]
OverridesOption = Annotated[
    list[str] | None,
    typer.Option(SET, metavar="KEY=VALUE", help="Change a value of the recipe; repeat it."),
]
RootOption = Annotated[
    Path | None, typer.Option(help="Folder of cube, models and issues, not the recipe's.")
]
HomeOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the server's database and logs [default: ~/.cubecast]."),
]
InitOption = Annotated[
    str | None,
    typer.Option(help="Last observed time that the forecast knows, as in 2017-12."),
]


def last_changes(changes: Iterable[str]) -> list[str]:
    """Keep the last change of each key: it is the one that counts, and where it counts."""
    last: dict[str, str] = {}
    for change in changes:
        key = change.partition("=")[0].strip()
        last.pop(key, None)
        last[key] = change
    return list(last.values())


def drop_undone_changes(words: Sequence[str]) -> list[str]:
    """Leave out of a command line the changes that a later one of the same key undoes."""
    others: list[str] = []
    changes: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == SET:
            changes.append(next(rest, ""))
        elif word.startswith(f"{SET}="):
            changes.append(word.removeprefix(f"{SET}="))
        else:
            others.append(word)
    return [*others, *(word for change in last_changes(changes) for word in (SET, change))]


def without_debug(words: Sequence[str]) -> list[str]:
    """Leave out ``--debug``, which may stand before or behind the command."""
    return [word for word in words if word != DEBUG]


def is_debug() -> bool:
    """Check whether the command line asks for tracebacks."""
    return DEBUG in sys.argv[1:]
