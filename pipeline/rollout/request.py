"""Settings of one rollout: small and picklable, since workers open what it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.metrics.calibration import Calibration
from pipeline.models.quantiles import median_index
from pipeline.split import Split
from stores.times import Step, Time


@dataclass(frozen=True, slots=True)
class EnsembleSpec:
    """An ensemble: how many forecasts, and what makes them differ.

    All randomness is a pure function of seed, member, lead and position on the grid, so members
    have no seams and do not depend on tiles or workers.
    """

    n: int = 1
    seed: int = 0
    dropout: bool = False
    """Whether networks drop maps as they did in training."""
    noise: float = 0.0
    """Standard deviation of what is added to the observed frames [normalized units]."""
    noise_px: int = 1
    """Distance over which the noise is correlated [px]."""


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """How forecasts are rolled out, before it is known from which model and which init."""

    target: str
    """Variable that is forecast."""
    leads: int
    minimum: float | None = None
    """Physical bounds of what is published [units of the target]."""
    maximum: float | None = None
    members: EnsembleSpec = EnsembleSpec()
    precision: str = "32"
    mode: str = "exact"
    taper: str = "hann"
    taper_px: int | None = None
    tile_px: int | None = None
    """Side of the square that a tile owns; planned from the memory by default [px]."""
    block_leads: int | None = None
    """Leads that a tile rolls out before it looks at its neighbors; planned by default."""
    batch: int = 1
    """Tiles computed together."""
    device: str = "auto"
    n_fields: int = 1
    """Maps of climatologies that a tile may read."""


@dataclass(frozen=True, slots=True)
class HindcastSpec:
    """Which forecasts of the past are made, and what their scores follow from."""

    part: str
    split: Split
    step: Step
    """Distance between two frames."""
    units: str
    """Of the target."""
    interval: float | None = None
    """Coverage of the intervals that margins are learned for; None: none."""
    rollout: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the rollout that can change a number, by their names in a recipe."""


@dataclass(frozen=True, slots=True)
class ForecastRequest:
    """One forecast: which model, from which frame of which cube, how far, and how."""

    bundles: tuple[Path, ...]
    """Models of one kind; members are assigned to them in turn."""
    cube: Path
    init: Time
    leads: int
    minimum: float | None = None
    maximum: float | None = None
    device: str = "cpu"
    precision: str = "32"
    """``32``, or ``bf16``: arithmetic of the convolutions."""
    mode: str = "exact"
    """``exact``, or ``blend``: tiles roll on their own and are averaged where they overlap."""
    taper: str = "hann"
    """How the weight of a blended tile falls towards its border."""
    members: EnsembleSpec = EnsembleSpec()
    quantiles: tuple[float, ...] = ()
    """Quantiles that the model predicts, rising; none where it predicts one value."""
    calibration: Calibration | None = None
    """Margins of the intervals; none are published without."""

    @property
    def n_outputs(self) -> int:
        """Number of fields of every frame: members, or quantiles."""
        return max(self.members.n, len(self.quantiles))

    @property
    def central_index(self) -> int:
        """Which of them is fed back: the median, or the first member."""
        return median_index(self.quantiles)

    @property
    def needs_gpu(self) -> bool:
        """Whether its tasks need a worker with a GPU."""
        return self.device == "cuda"
