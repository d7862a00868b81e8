"""The table of a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flows.artifacts import create_table
from flows.console import echo, show_table
from flows.steps.seeds import format_command, show_training_scores
from flows.training_request import TrainingRequest
from pipeline.recipes import Recipe
from pipeline.recipes.sweep import Combination
from pipeline.training.compare import ScoreRow, list_scores, score_name, summarize_scores
from stores.bundle import Bundle
from stores.files import write_text

_HIDDEN = ("bundles", "fingerprints", "note")
"""Columns that only the file has, because terminals are narrow."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A combination and what came of it."""

    combination: Combination
    bundles: tuple[Bundle, ...]
    """One per fold and seed; none where it failed."""
    failure: str = ""
    n_folds: int = 1
    """Folds over which scores are averaged."""

    @property
    def score(self) -> float:
        """Mean of the score that decides; infinite where there is none."""
        if not self.bundles:
            return math.inf
        return summarize_scores(self.bundles)[score_name(self.bundles[0])][0]

    def row(self) -> ScoreRow:
        """Write one line of the table."""
        row: ScoreRow = dict(self.combination.values)
        if not self.bundles:
            return row | {"note": f"failed: {self.failure}"}
        scores = summarize_scores(self.bundles)
        first = score_name(self.bundles[0])
        for name in sorted(scores, key=lambda name: name != first):
            row[name] = scores[name][0]
            if len(self.bundles) > 1:
                row[f"{name}_spread"] = scores[name][1]
        described = [bundle.description for bundle in self.bundles]
        return row | {
            "best_epoch": " ".join(str(one["training"]["best_epoch"]) for one in described),
            "parameters": described[0]["training"]["parameters"],
            "bundles": " ".join(bundle.path.name for bundle in self.bundles),
            "fingerprints": " ".join(one["fingerprint"][:12] for one in described),
        }


def sweep_table_path(recipe: Recipe) -> Path:
    """Return the table of a recipe's last sweep."""
    return recipe.root / "sweeps" / f"{recipe.name}.csv"


def save_sweep(table: Path, ranked: Sequence[SweepResult]) -> None:
    """Write what is known so far, best first; the single folds go into a second file."""
    write_text(table, _frame(ranked).to_csv(index=False))
    if any(result.n_folds > 1 for result in ranked):
        each = [
            dict(result.combination.values) | row
            for result in ranked
            for row in list_scores(result.bundles)
        ]
        write_text(table.with_suffix(".folds.csv"), pd.DataFrame(each).to_csv(index=False))


def show_sweep(request: TrainingRequest, ranked: Sequence[SweepResult], table: Path) -> None:
    """Print the combinations, best first, and how to train the best one for good.

    Raises:
        RuntimeError: all of them failed.
    """
    best = min(ranked, key=lambda result: result.score)
    if not best.bundles:
        raise RuntimeError(
            f"all {len(ranked)} combinations failed, so none can be chosen; the reasons stand "
            f"in {table}; the last was: {ranked[-1].failure}"
        )
    if len(ranked) > 1:
        _show_table(ranked, table)
    changes = best.combination.overrides
    goal = "make the best combination the current bundle"
    if best.n_folds > 1:
        what = f" of the best: {best.combination}" if changes else ""
        title = f"{best.n_folds} folds, scores on the fold left out{what}"
        show_training_scores(best.bundles, title, key="folds")
        changes += ["split.folds=null", "split.fold=0"]
        goal = "train it on the whole training part, as the current bundle"
    echo(f"table: {table}")
    echo(f"to {goal}:")
    echo(f"  {format_command('train', request, changes)}")


def _show_table(ranked: Sequence[SweepResult], table: Path) -> None:
    frame = _frame(ranked).drop(columns=[*_HIDDEN], errors="ignore")
    rows = [{str(k): _cell(v) for k, v in row.items()} for row in frame.to_dict("records")]
    title = "sweep, scores on the validation part, best first"
    show_table(title, rows, columns=list(rows[0]))
    create_table("sweep", rows, description=f"{title}: {table}")


def _frame(ranked: Sequence[SweepResult]) -> pd.DataFrame:
    """Tabulate all combinations, best first; equals stay in the order of the sweep."""
    rows = [result.row() for result in sorted(ranked, key=lambda result: result.score)]
    return pd.DataFrame(rows, dtype=object)  # counts stay whole beside a row that failed


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "failed" if math.isnan(value) else f"{value:.4g}"
    return str(value)
