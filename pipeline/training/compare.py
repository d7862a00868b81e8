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
    """Return the score that decided; lower is better."""
    return float(bundle.description["training"]["scores"][score_name(bundle)])


def pick_best(bundles: Sequence[Bundle]) -> Bundle:
    """Choose the bundle with the lowest score; the first of equals."""
    return min(bundles, key=score_of)


def seed_of(bundle: Bundle) -> int:
    """Return the seed of a bundle's training."""
    return int(bundle.description["recipe"]["training"]["seed"])


def list_scores(bundles: Sequence[Bundle]) -> list[ScoreRow]:
    """Tabulate all scores of each training."""
    rows = []
    for bundle in bundles:
        training = bundle.description["training"]
        split = bundle.description["recipe"]["split"]
        row = {"fold": split["fold"]} if split.get("folds") else {}
        row |= {"seed": seed_of(bundle), **training["scores"]}
        rows.append(row | {"best_epoch": training["best_epoch"], "bundle": bundle.path.name})
    return rows


def summarize_scores(bundles: Sequence[Bundle]) -> dict[str, tuple[float, float]]:
    """Compute mean and standard deviation of every score; that of one training is NaN.

    The standard deviation has one degree of freedom less than there are trainings.
    """
    all_scores = [bundle.description["training"]["scores"] for bundle in bundles]
    by_name = {name: [scores[name] for scores in all_scores] for name in all_scores[0]}
    return {
        name: (fmean(values), stdev(values) if len(values) > 1 else math.nan)
        for name, values in by_name.items()
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
    """List the keys by which validation samples differ: small differences mean little then."""
    first, *others = map(_sample_definition, trainings)
    return sorted({key for other in others for key in _differing_keys(first, other)})


def _score_definition(training: TrainingSpec) -> dict[str, Any]:
    """Describe what the deciding score measures."""
    fit = training.fit
    score = training.score
    leads = training.span.leads
    definition: dict[str, Any] = {
        "training.score": (score.kind, score.units),
        "target.variable": fit.target,
        "split.validation": fit.split.date_ranges["validation"],
        "split.folds": fit.split.folds,
        "split.place": fit.split.place,
    }
    if score.kind == "loss":
        definition["training.loss"] = (training.losses, training.n_members)
        definition["training.leads"] = leads
    else:
        definition["the lead of training.score"] = score.lead or leads
    if score.kind == "loss" or score.units == "normalized":
        definition["target.transform"] = (fit.transforms[fit.target], fit.harmonics)
        definition["split.train"] = fit.split.date_ranges[
            "train"
        ]  # transforms are fitted to it
    return definition


def _sample_definition(training: TrainingSpec) -> dict[str, Any]:
    """Describe what decides which samples validate."""
    return {
        "training.patch_px": training.patches.side_px,
        "training.min_valid": training.patches.min_valid,
        "training.leads": training.span.leads,
        "domain": training.fit.domain,
        "rollout.history": training.span.history,
    }


def _differing_keys(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    return [key for key in first if first[key] != second.get(key)]
