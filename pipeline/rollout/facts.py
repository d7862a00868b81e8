"""Short facts of one issue: its model from the bundle, the rest from its attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from pipeline.metrics import format_leads
from pipeline.rollout.products import LOWER
from pipeline.rollout.publishing import format_bundle
from pipeline.split import Split
from stores.forecast import Forecast
from stores.formatting import pluralize
from stores.issue import COGS, FORECAST, ITEM
from stores.times import Step, format_dates
from stores.units import pretty_units

LATE = "late_covariates"
"""Attribute of an issue: what stands for frames that came later than they should."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model as its bundle describes it; the recipe may have changed since."""

    target: str
    """Variable that is forecast."""
    name: str
    """The target in words."""
    units: str
    transform: tuple[str, ...]
    leads: int
    """Leads that training rolled out."""
    split: Split
    step: Step
    description: Mapping[str, Any]

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> Self:
        """Read the description of a bundle."""
        recipe = description["recipe"]
        target = recipe["target"]["variable"]
        variable = recipe["archive"]["variables"][target]
        return cls(
            target=target,
            name=variable["long_name"] or target,
            units=variable["units"],
            transform=tuple(recipe["target"]["transform"]),
            leads=recipe["training"]["leads"],
            split=Split.from_json(recipe["split"]),
            step=Step.parse(description["step"]),
            description=description,
        )

    def facts(self) -> dict[str, str]:
        """List what the model is, and what it was trained on."""
        levels = self.description["network"].get("quantiles", ())
        facts = {
            "Units": pretty_units(self.units),
            "History": pluralize(self.description["reading"]["history"], "frame"),
            "Transform": ", ".join(self.transform),
            "Trained on": self.split.format_part("train", self.step),
            "Split": self.split.describe(self.step),
            "Quantiles": ", ".join(map(str, levels)),
        }
        return {name: fact for name, fact in facts.items() if fact}


def list_facts(forecast: Forecast, model: ModelFacts) -> dict[str, str]:
    """List what the issue is: when and where it starts, what made it, and how."""
    attributes = dict(forecast.group.attrs)
    height, width = forecast.shape
    return {
        "Last observed": forecast.step.format(forecast.init),
        "Leads": f"{len(forecast.times)}, {forecast.step.phrase} each",
        "Grid": f"{height} x {width} px",
        **model.facts(),
        **_rollout_facts(forecast, model),
        **_bundle_facts(forecast),
        "Cube version": str(attributes["cube_version"]),
        "Recipe": str(attributes["recipe"])[:12],
    }


def write_byline(forecast: Forecast) -> str:
    """Write when the forecast was made, by what and whom, and what may be done with it."""
    attributes = forecast.group.attrs
    now = datetime.now(UTC).isoformat(timespec="minutes")
    created = str(attributes.get("date_created", now))
    phrases = [f"Made {created[:16].replace('T', ' ')} UTC", str(attributes["source"])]
    makers = ("institution", "creator_name")
    phrases += [str(attributes[name]) for name in makers if attributes.get(name)]
    if attributes.get("license"):
        phrases.append(f"Licence: {attributes['license']}")
    return " \N{MIDDLE DOT} ".join(phrases)


def list_links(forecast: Forecast) -> dict[str, str]:
    """List where the data of an issue lie, relative to its page."""
    links = {"Zarr": f"{FORECAST}/", "GeoTIFFs": f"{COGS}/", "STAC item": ITEM}
    if not (forecast.path.parent / COGS).is_dir():
        del links["GeoTIFFs"]
    return links


def _bundle_facts(forecast: Forecast) -> dict[str, str]:
    """List every model, and how many forecasts were joined where it is more than one."""
    models = [format_bundle(bundle) for bundle in forecast.bundles]
    numbered = [f"Model {number}" for number in range(1, len(models) + 1)]
    names = ["Model"] if len(models) == 1 else numbered
    facts = dict(zip(names, models, strict=True))
    return facts | ({"Members": str(forecast.members)} if forecast.members > 1 else {})


def _rollout_facts(forecast: Forecast, model: ModelFacts) -> dict[str, str]:
    """List how the forecast was rolled out, where that is not the default."""
    attributes: dict[str, Any] = dict(forecast.group.attrs)
    keys = {"Rollout": "rollout", "Trend": "trend"}
    facts = {fact: str(attributes[key]) for fact, key in keys.items() if key in attributes}
    if "precision" in attributes:
        largest = max(attributes["precision_error_largest"])
        error = f"{largest:g} {pretty_units(model.units)}".rstrip()
        facts["Precision"] = f"{attributes['precision']}, at most {error} off"
    return facts | _interval_facts(forecast, model)


def _interval_facts(forecast: Forecast, model: ModelFacts) -> dict[str, str]:
    """List what the interval promises, and what that rests on."""
    name = f"{model.target}{LOWER}"
    if name not in forecast.variables:
        return {}
    attributes = forecast.attributes(name)
    narrowed = [lead for lead, margin in enumerate(attributes["margins"], 1) if margin < 0]
    text = f"{attributes['coverage']:.0%}, {format_dates(attributes['method'])}"
    if narrowed:
        text += f"; narrower than what the forecast spans at {format_leads(narrowed)}"
    return {"Interval": text}
