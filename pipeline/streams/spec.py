"""What of a cube is learned from, in plain values: channels, parts, domain, and patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.split import Split
from pipeline.streams.input_stack import InputStack


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """Where a forecast is wanted: by default where the target is valid."""

    variable: str | None = None
    """A static variable of the cube."""
    above: float = 0.5
    """Pixels with a larger value belong to the domain [units of the variable]."""


@dataclass(frozen=True, slots=True)
class FitSpec:
    """What is fitted to the training part before a network learns."""

    stack: InputStack
    """All channels in their order; nothing of them is fitted yet."""
    transforms: Mapping[str, tuple[str, ...]]
    """Of every variable among the channels, the target first; applied in order."""
    units: Mapping[str, str]
    """Of the same variables."""
    split: Split
    domain: DomainSpec = DomainSpec()
    harmonics: int | None = None
    """Harmonics kept in the target's climatology; all seasons apart by default."""

    @property
    def target(self) -> str:
        """Name of the variable that is forecast."""
        return self.stack.target.variable


@dataclass(frozen=True, slots=True)
class PatchSpec:
    """Which patches there are, and how an epoch draws from them."""

    side_px: int
    min_valid: float = 0.05
    """Patches with a smaller fraction of valid target pixels are left out."""
    per_epoch: int | None = None
    """Patches of an epoch; all by default."""
    draw: Literal["uniform", "quantiles", "changes"] = "uniform"
    """``uniform``, or by what they hold: ``quantiles`` or ``changes``."""
    jitter_px: int = 0
    """Farthest random move of a patch along one axis [px]."""
    buffer: int = 4096
    """Patches that are shuffled together when an epoch has more."""
