"""Everything about a forecast but its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from stores import grid as grids
from stores.digests import digest_json
from stores.layout import Layout, plan_layout
from stores.names import RESERVED_NAMES, check_id
from stores.times import Step, Time, Times


@dataclass(frozen=True, slots=True)
class ForecastVariable:
    """One variable of a forecast, as it is described to analysts."""

    name: str
    units: str
    long_name: str = ""
    standard_name: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    cell_methods: str = ""
    """What a value is of its cell, such as ``time: mean``; what was done later follows."""

    def cf_attributes(self) -> dict[str, Any]:
        """Build the CF attributes; those that are empty are left out."""
        methods = (self.cell_methods, self.attributes.get("cell_methods", ""))
        optional = {
            "long_name": self.long_name,
            "standard_name": self.standard_name,
            "cell_methods": " ".join(filter(None, methods)),
        }
        nonempty = {key: value for key, value in optional.items() if value}
        required = {"units": self.units, "coverage_content_type": "modelResult"}
        return dict(self.attributes) | nonempty | required


@dataclass(frozen=True, slots=True)
class ForecastTemplate:
    """Everything about a forecast but its numbers."""

    grid: GeoBox
    variables: tuple[ForecastVariable, ...]
    step: Step
    init: Time
    leads: int
    title: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    layout: Layout | None = None
    first_lead: int = 1
    """First frame that is forecast: 1 is the one after ``init``, 0 is ``init`` itself."""

    def __post_init__(self) -> None:
        names = [check_id(variable.name, "variable") for variable in self.variables]
        reserved = sorted(RESERVED_NAMES & set(names))
        if reserved or not names or len(set(names)) < len(names):
            raise ValueError(
                f"variables {names} are none, named twice or take a reserved name "
                f"({reserved}), so arrays would replace each other; use other names than "
                f"{sorted(RESERVED_NAMES)}"
            )

    @property
    def times(self) -> Times:
        """Valid times of all leads [s]."""
        return np.array([self.step.add(self.init, lead) for lead in self.lead_numbers])

    @property
    def lead_numbers(self) -> range:
        """Steps from ``init`` to each frame."""
        return range(self.first_lead, self.first_lead + self.leads)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns [px]."""
        return self.grid.shape[0], self.grid.shape[1]

    @property
    def resolved_layout(self) -> Layout:
        """Chunks and shards: those asked for, or planned from the grid."""
        return self.layout or plan_layout(self.shape)

    @property
    def digest(self) -> str:
        """Hash all of it; equal digests mean equal empty stores."""
        written = asdict(self)
        written |= {
            "grid": grids.to_json(self.grid),
            "init": self.step.label(self.init),
            "layout": asdict(self.resolved_layout),
        }
        return digest_json(written)
