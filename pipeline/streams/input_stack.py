"""What each channel of a network is read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from pipeline.channels import ChannelGroup, ChannelSpec, CovariateChannels
from pipeline.registry import check_option
from pipeline.streams.transforms import TRANSFORMS, TransformSpec

SEASON = CovariateChannels("season", ("season_sin", "season_cos"))
PIXEL_POSITION = CovariateChannels("lonlat", ("place_y", "place_x"))


@dataclass(frozen=True, slots=True)
class VariableSpec:
    """A variable of the cube and its transforms into the network's space: one channel."""

    variable: str
    chain: tuple[TransformSpec, ...] = ()

    def __post_init__(self) -> None:
        for description in self.chain:
            check_option(TRANSFORMS, description["kind"], "transform")

    @property
    def channels(self) -> CovariateChannels:
        """Its channel, which is called like the variable."""
        return CovariateChannels(self.variable, (self.variable,))


@dataclass(frozen=True, slots=True)
class ForcingSpec:
    """A covariate with a date: a variable of the cube, or the season (two channels)."""

    kind: str
    """``step``, ``annual`` or ``season``."""
    series: VariableSpec | None = None
    future: str = "known"
    delay: int = 0

    def __post_init__(self) -> None:
        check_option(("step", "annual", "season"), self.kind, "kind of covariate")
        check_option(("known", "climatology", "persist"), self.future, "future of a covariate")

    @property
    def channels(self) -> CovariateChannels:
        """Its channels."""
        return self.series.channels if self.series else SEASON


@dataclass(frozen=True, slots=True)
class StaticSpec:
    """A covariate without a date: a variable, or the pixel position (two channels)."""

    series: VariableSpec | None = None

    @property
    def channels(self) -> CovariateChannels:
        """Its channels."""
        return self.series.channels if self.series else PIXEL_POSITION


@dataclass(frozen=True, slots=True)
class InputStack:
    """What all channels are read from; ``channels`` holds their order."""

    target: VariableSpec
    forcings: tuple[ForcingSpec, ...] = ()
    statics: tuple[StaticSpec, ...] = ()

    @property
    def channels(self) -> ChannelSpec:
        """Names, order and slices of all channels."""
        return ChannelSpec(
            self.target.variable,
            ChannelGroup(tuple(forcing.channels for forcing in self.forcings)),
            ChannelGroup(tuple(static.channels for static in self.statics)),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all channels."""
        return self.channels.names

    def with_chains(self, chains: Mapping[str, tuple[TransformSpec, ...]]) -> Self:
        """Return the same channels with the fitted chain of every variable."""

        def fitted(series: VariableSpec | None) -> VariableSpec | None:
            return series and replace(series, chain=chains[series.variable])

        return replace(
            self,
            target=replace(self.target, chain=chains[self.target.variable]),
            forcings=tuple(replace(f, series=fitted(f.series)) for f in self.forcings),
            statics=tuple(replace(s, series=fitted(s.series)) for s in self.statics),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the stack as a bundle holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` returned."""
        return cls(
            target=_series(written["target"]) or VariableSpec(""),
            forcings=tuple(
                ForcingSpec(**{**forcing, "series": _series(forcing["series"])})
                for forcing in written["forcings"]
            ),
            statics=tuple(
                StaticSpec(**{**static, "series": _series(static["series"])})
                for static in written["statics"]
            ),
        )


def _series(written: Mapping[str, Any] | None) -> VariableSpec | None:
    return VariableSpec(**{**written, "chain": tuple(written["chain"])}) if written else None
