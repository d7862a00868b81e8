"""What scores say to people: a verdict, what to beware of, and a table."""

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
_FEWEST_DIGITS, _MOST_DIGITS = 3, 6


def verdict(table: pd.DataFrame) -> str:
    """Say in one sentence, with numbers, whether the forecast beats what costs nothing.

    Args:
        table: what ``score_table`` gave, with one method that is no reference.
    """
    own, references = _pooled(table, _model_of(table)), _baselines_of(table)
    if not own["n"]:
        return "No pixel has both a forecast and a truth, so nothing is known about its skill."
    rivals = {name: float(_pooled(table, name)["rmse"]) for name in references}
    digits = _digits_to_distinguish(float(own["rmse"]), rivals.values())
    error = f"RMSE {_format(own['rmse'], digits)} {pretty_units(str(own['units']))}".rstrip()
    if not references:
        return (
            f"No baseline was scored, so the forecast ({error}) cannot be called good or bad."
        )
    judged: dict[str, list[str]] = {word: [] for word in _COMPARISONS}
    for reference in references:
        skill, rmse = own[f"skill_{reference}"], _format(rivals[reference], digits)
        said = f"{display_name(reference)} (RMSE {rmse}, skill {skill:.2f})"
        judged[_compare(skill)].append(said)
    clauses = [f"{word} {' and '.join(said)}" for word, said in judged.items() if said]
    sentence = f"Over all leads together the forecast ({error}) is {', '.join(clauses)}"
    if judged["worse than"]:
        best = min(rivals, key=lambda name: rivals[name])
        return f"{sentence}; {display_name(best)} alone would have served better."
    weak = _weak_leads(table)
    yet = [f"{display_name(name)} at {format_leads(leads)}" for name, leads in weak.items()]
    return f"{sentence}; yet it is worse than {' and '.join(yet)}." if yet else f"{sentence}."


def list_warnings(table: pd.DataFrame, probabilistic: pd.DataFrame | None) -> list[str]:
    """Warn of what scores show: baselines that do better, bias, and coverage that was missed.

    Args:
        table: what ``score_table`` gave, with one method that is no reference.
        chances: what ``probabilistic_table`` gave, if anything was scored there.
    """
    missed = (
        []
        if probabilistic is None or "coverage" not in probabilistic
        else _missed_coverage(probabilistic)
    )
    return [*warn_baselines_not_beaten(table), *_biases(table), *missed]


def warn_baselines_not_beaten(table: pd.DataFrame) -> list[str]:
    """Warn of every baseline that the forecast does not beat at some lead, with numbers."""
    own = table[table["method"] == _model_of(table)].set_index("lead")
    warnings = []
    for reference, leads in _weak_leads(table).items():
        skill = own[f"skill_{reference}"]
        lowest = min(leads, key=lambda lead: float(skill[lead]))
        scored = table[table["method"] == reference].set_index("lead")
        rmse, other = float(own["rmse"][lowest]), float(scored["rmse"][lowest])
        digits = _digits_to_distinguish(rmse, [other])
        warnings.append(
            f"The forecast is worse than {display_name(reference)} at {format_leads(leads)}: its "
            f"skill is {skill[lowest]:.2f} at lead {lowest} (RMSE {_format(rmse, digits)} "
            f"against {_format(other, digits)}), and {skill[ALL_LEADS]:.2f} over all leads "
            "together."
        )
    return warnings


def _biases(table: pd.DataFrame) -> list[str]:
    """Warn of leads whose bias is a large part of their error, too high or too low."""
    own = table[(table["method"] == _model_of(table)) & (table["lead"] != ALL_LEADS)]
    own, units = own.set_index("lead"), pretty_units(str(table["units"].iloc[0]))
    warnings = []
    for word, sign in (("high", 1), ("low", -1)):
        part = sign * own["bias"] / own["rmse"]
        leads = [int(lead) for lead in own.index[part > _BIAS_ALARM_FRACTION]]
        if leads:
            worst = max(leads, key=lambda lead: float(part[lead]))
            bias, rmse = (float(own[name][worst]) for name in ("bias", "rmse"))
            most = f", most at lead {worst}" if len(leads) > 1 else ""
            warnings.append(
                f"The forecast is too {word} at {format_leads(leads)}{most}: its mean is off by "
                f"{f'{bias:+.3g} {units}'.rstrip()}, beside an RMSE of {rmse:.3g}, and sums or "
                "thresholds taken from these maps carry that."
            )
    return warnings


def _missed_coverage(chances: pd.DataFrame) -> list[str]:
    """Warn of leads that miss half as many truths again as promised, or half as few."""
    level = float(chances["level"].iloc[0])
    shares = chances.set_index("lead")["coverage"].to_dict()
    held = {int(str(lead)): float(share) for lead, share in shares.items()}
    room, warnings = (1 - level) / 2, []
    for sure, sign in (("sure", -1), ("unsure", 1)):
        missed = [lead for lead, share in held.items() if sign * (share - level) > room]
        if missed:
            worst = max(missed, key=lambda lead: sign * held[lead])
            warnings.append(
                f"Intervals promise {level:.0%} of the truths, but those of the test part are "
                f"too {sure} at {format_leads(missed)}: they held {held[worst]:.1%} at lead "
                f"{worst}."
            )
    return warnings


def score_overview(table: pd.DataFrame) -> pd.DataFrame:
    """Arrange scores for people: one row a lead, RMSE of every method, skill of the model."""
    model, references = _model_of(table), _baselines_of(table)
    units = pretty_units(str(table["units"].iloc[0]))
    unit = f" [{units}]" if units else ""
    own = table[table["method"] == model].set_index("lead")
    columns = {f"RMSE{unit}": own["rmse"]}
    for reference in references:
        scored = table[table["method"] == reference].set_index("lead")
        columns[f"RMSE of {display_name(reference)}{unit}"] = scored["rmse"]
    for reference in references:
        columns[f"skill against {display_name(reference)}"] = own[f"skill_{reference}"]
    columns |= {f"bias{unit}": own["bias"], f"MAE{unit}": own["mae"], "R²": own["r2"]}
    columns |= {"correlation": own["correlation"], "pixels": own["n"]}
    return pd.DataFrame(columns)


def _model_of(table: pd.DataFrame) -> str:
    """Find the one method that is judged."""
    methods = [str(method) for method in dict.fromkeys(table["method"])]
    models = [method for method in methods if method not in BASELINES]
    if len(models) != 1:
        raise ValueError(
            f"the table scores {methods}, of which {models} are no references, so it is not "
            "clear which is judged; score one forecast beside the references"
        )
    return models[0]


def _baselines_of(table: pd.DataFrame) -> list[str]:
    return [reference for reference in BASELINES if f"skill_{reference}" in table]


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
    """Give the leads at which each reference is better, for references that ever are."""
    own = table[(table["method"] == _model_of(table)) & (table["lead"] != ALL_LEADS)]
    weak = {}
    for reference in _baselines_of(table):
        worse = [_compare(float(skill)) == "worse than" for skill in own[f"skill_{reference}"]]
        weak[reference] = [int(lead) for lead in own["lead"][worse]]
    return {reference: leads for reference, leads in weak.items() if leads}


def _digits_to_distinguish(value: float, others: Iterable[float]) -> int:
    """Count the digits with which a number is not written as others that differ from it."""
    differ = [other for other in others if not math.isclose(value, other, rel_tol=1e-6)]
    for digits in range(_FEWEST_DIGITS, _MOST_DIGITS):
        if all(_format(value, digits) != _format(other, digits) for other in differ):
            return digits
    return _MOST_DIGITS


def _format(value: float, digits: int) -> str:
    """Write so many digits, with zeros at the end where more than three are needed."""
    if digits == _FEWEST_DIGITS:
        return f"{value:.{digits}g}"
    return f"{value:#.{digits}g}".rstrip(".")
