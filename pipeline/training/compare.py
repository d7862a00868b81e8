"""Compare trainings by their scores on the validation part; the test part stays unseen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from pipeline.training.spec import TrainingSpec
from stores.bundle import Bundle

ScoreRow = dict[str, Any]


def score_name(bundle: Bundle) -> str:
    """Name the score that decided which epoch is the best."""
    return str(bundle.description["training"]["score"])


def score_of(bundle: Bundle) -> float:
    """Give the score that decided; lower is better."""
    return float(bundle.description["training"]["scores"][score_name(bundle)])


def pick_best(bundles: Sequence[Bundle]) -> Bundle:
    """Choose the bundle with the lowest score; the first of equals."""
    return min(bundles, key=score_of)


def seed_of(bundle: Bundle) -> int:
    """Give the seed of a bundle's training."""
    return int(bundle.description["recipe"]["training"]["seed"])


def list_scores(bundles: Sequence[Bundle]) -> list[ScoreRow]:
    """Tabulate all scores of each training."""
    rows = []
    for bundle in bundles:
        training, split = bundle.description["training"], bundle.description["recipe"]["split"]
        row = {"fold": split["fold"]} if split.get("folds") else {}
        row |= {"seed": seed_of(bundle), **training["scores"]}
        rows.append(row | {"best_epoch": training["best_epoch"], "bundle": bundle.path.name})
    return rows


def summarize_scores(bundles: Sequence[Bundle]) -> dict[str, tuple[float, float]]:
    """Give mean and spread of every score; the spread of one training is NaN.

    The spread is the standard deviation with one degree of freedom less than there are runs.
    """
    every = [bundle.description["training"]["scores"] for bundle in bundles]
    values = {name: [scores[name] for scores in every] for name in every[0]}
    return {
        name: (fmean(found), stdev(found) if len(found) > 1 else math.nan)
        for name, found in values.items()
    }


def check_comparable(trainings: Mapping[str, TrainingSpec]) -> None:
    """Refuse to rank trainings by numbers that do not mean the same.

    Args:
        trainings: what would be done, by the name that messages use.

    Raises:
        ValueError: names two of them and what differs.
    """
    first, *others = trainings
    fingerprints: dict[str, str] = {}
    for name, training in trainings.items():
        same = fingerprints.setdefault(training.fingerprint, name)
        if same != name:
            raise ValueError(
                f"{name!r} and {same!r} are the same training, so comparing them would tell "
                "nothing; sweep keys that change the model or how it learns, each value once"
            )
    for name in others:
        differing = _differing_keys(
            _score_definition(trainings[first]), _score_definition(trainings[name])
        )
        if differing:
            raise ValueError(
                f"{first!r} and {name!r} differ in {', '.join(differing)}, so their scores are "
                "in other units or of other leads and cannot be ranked; leave that out of the "
                "sweep, or give all the same yardstick: --set training.score={kind: rmse, "
                "lead: 1}"
            )


def find_sample_differences(trainings: Sequence[TrainingSpec]) -> list[str]:
    """Name what lets the validation samples differ, so that small differences mean little."""
    first, *others = map(_samples, trainings)
    return sorted({key for other in others for key in _differing_keys(first, other)})


def _score_definition(training: TrainingSpec) -> dict[str, Any]:
    """Say what the deciding score measures."""
    fit, score, leads = training.fit, training.score, training.span.leads
    meaning: dict[str, Any] = {
        "training.score": (score.kind, score.units),
        "target.variable": fit.target,
        "split.validation": fit.split.date_ranges["validation"],
        "split.folds": fit.split.folds,
        "split.place": fit.split.place,
    }
    if score.kind == "loss":
        meaning |= {"training.loss": (training.losses, training.n_members)}
        meaning |= {"training.leads": leads}
    else:
        meaning["the lead of training.score"] = score.lead or leads
    if score.kind == "loss" or score.units == "normalized":
        meaning["target.transform"] = fit.transforms[fit.target], fit.harmonics
        meaning["split.train"] = fit.split.date_ranges[
            "train"
        ]  # what the transform is fitted to
    return meaning


def _samples(training: TrainingSpec) -> dict[str, Any]:
    """Name what decides which samples validate."""
    return {
        "training.patch_px": training.patches.side_px,
        "training.min_valid": training.patches.min_valid,
        "training.leads": training.span.leads,
        "domain": training.fit.domain,
        "rollout.history": training.span.history,
    }


def _differing_keys(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    return [key for key in first if first[key] != second.get(key)]
