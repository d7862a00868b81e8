"""The channels of a network: what they are, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from pipeline.streams.transforms import TRANSFORMS, Description
from pipeline.words import check_word


@dataclass(frozen=True, slots=True)
class Series:
    """A variable of the cube and its way into the network's space."""

    variable: str
    chain: tuple[Description, ...] = ()

    def __post_init__(self) -> None:
        for description in self.chain:
            check_word(TRANSFORMS, description["kind"], "transform")


@dataclass(frozen=True, slots=True)
class Forcing:
    """Covariates with a date: a variable of the cube, or the season (two channels)."""

    kind: str
    """``step``, ``annual`` or ``season``."""
    series: Series | None = None
    future: str = "known"
    delay: int = 0

    def __post_init__(self) -> None:
        check_word(("step", "annual", "season"), self.kind, "kind of covariate")
        check_word(("known", "climatology", "persist"), self.future, "future of a covariate")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels."""
        return (self.series.variable,) if self.series else ("season_sin", "season_cos")


@dataclass(frozen=True, slots=True)
class Static:
    """Covariates without a date: a variable of the cube, or the place (two channels)."""

    series: Series | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels."""
        return (self.series.variable,) if self.series else ("place_y", "place_x")


@dataclass(frozen=True, slots=True)
class Stack:
    """All channels, in the order of the network: target, valid, forcings, statics."""

    target: Series
    forcings: tuple[Forcing, ...] = ()
    statics: tuple[Static, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all channels."""
        covariates: list[Forcing | Static] = [*self.forcings, *self.statics]
        beside = [name for covariate in covariates for name in covariate.names]
        return (self.target.variable, "valid", *beside)

    def with_chains(self, chains: Mapping[str, tuple[Description, ...]]) -> Self:
        """Return the same channels with the fitted chain of every variable."""

        def fitted(series: Series | None) -> Series | None:
            return series and replace(series, chain=chains[series.variable])

        return replace(
            self,
            target=replace(self.target, chain=chains[self.target.variable]),
            forcings=tuple(replace(f, series=fitted(f.series)) for f in self.forcings),
            statics=tuple(replace(s, series=fitted(s.series)) for s in self.statics),
        )

    def to_json(self) -> dict[str, Any]:
        """Write the stack into a bundle."""
        return asdict(self)

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote."""
        return cls(
            target=_series(written["target"]) or Series(""),
            forcings=tuple(
                Forcing(**{**forcing, "series": _series(forcing["series"])})
                for forcing in written["forcings"]
            ),
            statics=tuple(
                Static(**{**static, "series": _series(static["series"])})
                for static in written["statics"]
            ),
        )


def _series(written: Mapping[str, Any] | None) -> Series | None:
    return Series(**{**written, "chain": tuple(written["chain"])}) if written else None
