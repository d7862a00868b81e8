"""Scores in words: a verdict, warnings, and a table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from pipeline.metrics import ALL_LEADS, BASELINES, format_leads
from pipeline.plots import display_name
from stores.units import pretty_units

_TIE = 0.005  # skills closer to zero are called equal
_COMPARISONS = ("worse than", "not comparable with", "as good as", "better than")
_BIAS_ALARM_FRACTION = 0.3  # of the RMSE: such a bias is a tenth of the squared error
_MIN_DIGITS = 3
_MAX_DIGITS = 6


def verdict(table: pd.DataFrame) -> str:
    """Return one sentence, with numbers, on whether the forecast beats the baselines.

    Args:
        table: result of ``score_table``, with one method that is no baseline.
    """
    model = _pooled(table, _model_of(table))
    baselines = _baselines_of(table)
    if not model["n"]:
        return "No pixel has both a forecast and a truth, so nothing is known about its skill."
    baseline_rmse = {name: float(_pooled(table, name)["rmse"]) for name in baselines}
    digits = _digits_to_distinguish(float(model["rmse"]), baseline_rmse.values())
    rmse = _format(model["rmse"], digits)
    error = f"RMSE {rmse} {pretty_units(str(model['units']))}".rstrip()
    if not baselines:
        return (
            f"No baseline was scored, so the forecast ({error}) cannot be called good or bad."
        )
    by_comparison: dict[str, list[str]] = {comparison: [] for comparison in _COMPARISONS}
    for name in baselines:
        skill = model[f"skill_{name}"]
        phrase = f"RMSE {_format(baseline_rmse[name], digits)}, skill {skill:.2f}"
        by_comparison[_compare(skill)].append(f"{display_name(name)} ({phrase})")
    clauses = [f"{key} {' and '.join(names)}" for key, names in by_comparison.items() if names]
    sentence = f"Over all leads together the forecast ({error}) is {', '.join(clauses)}"
    if by_comparison["worse than"]:
        best = min(baseline_rmse, key=lambda name: baseline_rmse[name])
        return f"{sentence}; {display_name(best)} alone would have served better."
    weak = [
        f"{display_name(name)} at {format_leads(leads)}"
        for name, leads in _weak_leads(table).items()
    ]
    return f"{sentence}; yet it is worse than {' and '.join(weak)}." if weak else f"{sentence}."


def list_warnings(table: pd.DataFrame, probabilistic: pd.DataFrame | None) -> list[str]:
    """List what a reader must beware of: better baselines, bias, and missed coverage.

    Args:
        table: result of ``score_table``, with one method that is no baseline.
        probabilistic: result of ``probabilistic_table``, where there are such scores.
    """
    warnings = [*warn_baselines_not_beaten(table), *_warn_biases(table)]
    if probabilistic is not None and "coverage" in probabilistic:
        warnings += _warn_missed_coverage(probabilistic)
    return warnings


def warn_baselines_not_beaten(table: pd.DataFrame) -> list[str]:
    """List every baseline that the forecast does not beat at some lead, with numbers."""
    model = _rows_of(table, _model_of(table))
    warnings = []
    for name, leads in _weak_leads(table).items():
        skill = model[f"skill_{name}"]
        lowest = min(leads, key=lambda lead: float(skill[lead]))
        rmse = float(model["rmse"][lowest])
        baseline_rmse = float(_rows_of(table, name)["rmse"][lowest])
        digits = _digits_to_distinguish(rmse, [baseline_rmse])
        warnings.append(
            f"The forecast is worse than {display_name(name)} at {format_leads(leads)}: "
            f"its skill is {skill[lowest]:.2f} at lead {lowest} "
            f"(RMSE {_format(rmse, digits)} against {_format(baseline_rmse, digits)}), "
            f"and {skill[ALL_LEADS]:.2f} over all leads together."
        )
    return warnings


def _warn_biases(table: pd.DataFrame) -> list[str]:
    """List leads whose bias is a large fraction of their error, too high or too low."""
    model = _rows_of(table, _model_of(table)).drop(index=ALL_LEADS)
    units = pretty_units(str(table["units"].iloc[0]))
    warnings = []
    for word, sign in (("high", 1), ("low", -1)):
        bias_ratio = sign * model["bias"] / model["rmse"]
        leads = [int(lead) for lead in model.index[bias_ratio > _BIAS_ALARM_FRACTION]]
        if leads:
            worst = max(leads, key=lambda lead: float(bias_ratio[lead]))
            bias = float(model["bias"][worst])
            rmse = float(model["rmse"][worst])
            most = f", most at lead {worst}" if len(leads) > 1 else ""
            warnings.append(
                f"The forecast is too {word} at {format_leads(leads)}{most}: its mean is off "
                f"by {f'{bias:+.3g} {units}'.rstrip()}, beside an RMSE of {rmse:.3g}, and sums "
                "or thresholds taken from these maps carry that."
            )
    return warnings


def _warn_missed_coverage(probabilistic: pd.DataFrame) -> list[str]:
    """List leads that miss half as many truths again as promised, or half as few."""
    level = float(probabilistic["level"].iloc[0])
    by_lead = probabilistic.set_index("lead")["coverage"].to_dict()
    coverage = {int(str(lead)): float(value) for lead, value in by_lead.items()}
    tolerance = (1 - level) / 2
    warnings = []
    for word, sign in (("sure", -1), ("unsure", 1)):
        leads = [lead for lead, c in coverage.items() if sign * (c - level) > tolerance]
        if leads:
            worst = max(leads, key=lambda lead: sign * coverage[lead])
            warnings.append(
                f"Intervals promise {level:.0%} of the truths, but those of the test part are "
                f"too {word} at {format_leads(leads)}: they held {coverage[worst]:.1%} at lead "
                f"{worst}."
            )
    return warnings


def score_overview(table: pd.DataFrame) -> pd.DataFrame:
    """Arrange scores for people: one row a lead, RMSE of every method, skill of the model."""
    model = _rows_of(table, _model_of(table))
    baselines = _baselines_of(table)
    units = pretty_units(str(table["units"].iloc[0]))
    unit = f" [{units}]" if units else ""
    columns = {f"RMSE{unit}": model["rmse"]}
    for name in baselines:
        columns[f"RMSE of {display_name(name)}{unit}"] = _rows_of(table, name)["rmse"]
    for name in baselines:
        columns[f"skill against {display_name(name)}"] = model[f"skill_{name}"]
    columns |= {f"bias{unit}": model["bias"], f"MAE{unit}": model["mae"], "R²": model["r2"]}
    columns |= {"correlation": model["correlation"], "pixels": model["n"]}
    return pd.DataFrame(columns)


def _model_of(table: pd.DataFrame) -> str:
    """Find the one method that is no baseline."""
    methods = [str(method) for method in dict.fromkeys(table["method"])]
    models = [method for method in methods if method not in BASELINES]
    if len(models) != 1:
        raise ValueError(
            f"the table scores {methods}, of which {models} are no baselines, so it is not "
            "clear which is the forecast; score one forecast beside the baselines"
        )
    return models[0]


def _baselines_of(table: pd.DataFrame) -> list[str]:
    return [name for name in BASELINES if f"skill_{name}" in table]


def _rows_of(table: pd.DataFrame, method: str) -> pd.DataFrame:
    return table[table["method"] == method].set_index("lead")


def _pooled(table: pd.DataFrame, method: str) -> dict[str, Any]:
    rows = table[(table["method"] == method) & (table["lead"] == ALL_LEADS)]
    return {str(name): value for name, value in rows.iloc[0].items()}


def _compare(skill: float) -> str:
    if math.isnan(skill):
        return "not comparable with"
    if abs(skill) < _TIE:
        return "as good as"
    return "better than" if skill > 0 else "worse than"


def _weak_leads(table: pd.DataFrame) -> dict[str, list[int]]:
    """List the leads at which each baseline is better, for baselines that ever are."""
    model = _rows_of(table, _model_of(table)).drop(index=ALL_LEADS)
    weak = {}
    for name in _baselines_of(table):
        worse = [_compare(float(skill)) == "worse than" for skill in model[f"skill_{name}"]]
        weak[name] = [int(lead) for lead in model.index[worse]]
    return {name: leads for name, leads in weak.items() if leads}


def _digits_to_distinguish(value: float, others: Iterable[float]) -> int:
    """Count the digits with which a number is not written as others that differ from it."""
    differ = [other for other in others if not math.isclose(value, other, rel_tol=1e-6)]
    for digits in range(_MIN_DIGITS, _MAX_DIGITS):
        if all(_format(value, digits) != _format(other, digits) for other in differ):
            return digits
    return _MAX_DIGITS


def _format(value: float, digits: int) -> str:
    """Write ``digits`` digits, with zeros at the end where more than three are needed."""
    if digits == _MIN_DIGITS:
        return f"{value:.{digits}g}"
    return f"{value:#.{digits}g}".rstrip(".")
