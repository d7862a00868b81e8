"""What a person sees of several trainings: their scores, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from flows.artifacts import create_table
from flows.console import echo, show_table
from flows.options import SET, last_changes
from flows.training_request import TrainingRequest
from pipeline.training.compare import ScoreRow, list_scores, summarize_scores
from stores.bundle import Bundle
from stores.formatting import pluralize


def show_seeds(request: TrainingRequest, bundles: Sequence[Bundle], best: Bundle) -> None:
    """Print the scores of all seeds with mean and standard deviation, and how to use all.

    Quantiles of several networks are joined by nothing, so there the best one forecasts; models
    of a fold do not forecast.
    """
    show_training_scores(
        bundles,
        f"{pluralize(len(bundles), 'training')}, scores on the validation part",
        key="runs",
    )
    recipe = request.open()
    word = "current" if recipe.split.folds is None else "best"
    if recipe.training.quantiles or recipe.split.folds is not None:
        echo(f"{word} is {best.path.name}")
        return
    echo(f"current is {best.path.name}; to forecast with all of them:")
    echo(f"  {ensemble_command(request, bundles, best)}")


def show_training_scores(bundles: Sequence[Bundle], title: str, *, key: str) -> None:
    """Print the scores of several trainings with their mean and standard deviation."""
    summary = summarize_scores(bundles)
    listed = list_scores(bundles)
    first = next(iter(listed[0]))
    blank = dict.fromkeys(listed[0], "")
    rows: list[ScoreRow] = [*listed]
    for index, word in enumerate(("mean", "std")):
        found = {name: both[index] for name, both in summary.items()}
        rows.append(blank | {first: word} | found)
    cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
    show_table(title, cells, columns=list(cells[0]))
    create_table(key, cells, description=title)


def ensemble_command(request: TrainingRequest, bundles: Sequence[Bundle], best: Bundle) -> str:
    """Write the command that forecasts with all bundles as members of one ensemble."""
    others = dict.fromkeys(b.path.name for b in bundles if b.path != best.path)
    members = max(1 + len(others), request.open().rollout.members)
    changes = [f"rollout.members={members}", f"rollout.bundles=[{', '.join(others)}]"]
    return format_command("forecast", request, changes)


def format_command(command: str, request: TrainingRequest, changes: Sequence[str]) -> str:
    """Write a command that can be pasted: the caller's own words, with some changes."""
    words = ["cubecast", command, request.recipe]
    for change in last_changes([*request.overrides, *changes]):
        words += [SET, change]
    return shlex.join([*words, *(["--root", request.root] if request.root else [])])


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
