"""Short facts of one issue: of its model from the bundle, of itself from its own attributes."""

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
    """What a bundle says of itself; the recipe may have changed since."""

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
        """Say what the model is, and what it learned from."""
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
    """Say what the issue is: when and where it starts, what made it, and how."""
    attributes, show = dict(forecast.group.attrs), forecast.step.format
    height, width = forecast.shape
    return {
        "Last observed": show(forecast.init),
        "Leads": f"{len(forecast.times)}, {forecast.step.phrase} each",
        "Grid": f"{height} x {width} px",
        **model.facts(),
        **_rollout_facts(forecast, model),
        **_bundle_facts(forecast),
        "Cube version": str(attributes["cube_version"]),
        "Recipe": str(attributes["recipe"])[:12],
    }


def write_byline(forecast: Forecast) -> str:
    """Say when the forecast was made, by what and whom, and what may be done with it."""
    said = forecast.group.attrs
    made = str(said.get("date_created", datetime.now(UTC).isoformat(timespec="minutes")))
    parts = [f"Made {made[:16].replace('T', ' ')} UTC", str(said["source"])]
    parts += [str(said[name]) for name in ("institution", "creator_name") if said.get(name)]
    if said.get("license"):
        parts.append(f"Licence: {said['license']}")
    return " \N{MIDDLE DOT} ".join(parts)


def list_links(forecast: Forecast) -> dict[str, str]:
    """Say where the data of an issue lie, relative to its page."""
    links = {"Zarr": f"{FORECAST}/", "GeoTIFFs": f"{COGS}/", "STAC item": ITEM}
    if not (forecast.path.parent / COGS).is_dir():
        del links["GeoTIFFs"]
    return links


def _bundle_facts(forecast: Forecast) -> dict[str, str]:
    """Name every model, and how many forecasts were joined where it is more than one."""
    shown = [format_bundle(one) for one in forecast.bundles]
    names = ["Model"] if len(shown) == 1 else [f"Model {i}" for i in range(1, len(shown) + 1)]
    facts = dict(zip(names, shown, strict=True))
    return facts | ({"Members": str(forecast.members)} if forecast.members > 1 else {})


def _rollout_facts(forecast: Forecast, model: ModelFacts) -> dict[str, str]:
    """Say how the forecast was rolled out, where that is not plain."""
    attributes: dict[str, Any] = dict(forecast.group.attrs)
    said = {"Rollout": "rollout", "Trend": "trend"}
    facts = {fact: str(attributes[key]) for fact, key in said.items() if key in attributes}
    if "precision" in attributes:
        largest = max(attributes["precision_error_largest"])
        off = f"{largest:g} {pretty_units(model.units)}".rstrip()
        facts["Precision"] = f"{attributes['precision']}, at most {off} off"
    return facts | _interval_facts(forecast, model)


def _interval_facts(forecast: Forecast, model: ModelFacts) -> dict[str, str]:
    """Say what the interval promises, and what that rests on."""
    name = f"{model.target}{LOWER}"
    if name not in forecast.variables:
        return {}
    stated = forecast.attributes(name)
    narrowed = [lead for lead, margin in enumerate(stated["margins"], 1) if margin < 0]
    said = f"{stated['coverage']:.0%}, {format_dates(stated['method'])}"
    if narrowed:
        said += f"; narrower than what the forecast spans at {format_leads(narrowed)}"
    return {"Interval": said}
