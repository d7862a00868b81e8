"""The channels of a network: their names, order and positions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

DATED = ("target", "valid", "forcings")
"""Groups of channels that differ from frame to frame, in the order of the network."""
ORDER = (*DATED, "statics")
"""All groups: weights are learned in this order, and bundles hold them."""
TARGET = ORDER.index("target")
"""Index of the target, which is one channel, as ``valid`` is."""


@dataclass(frozen=True, slots=True)
class CovariateChannels:
    """The channels of one covariate."""

    name: str
    """The covariate, as recipes call it."""
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels of several covariates side by side, counted from the first one."""

    covariates: tuple[CovariateChannels, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(name for covariate in self.covariates for name in covariate.channels)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Slice of each covariate's channels in this group."""
        lengths = (len(covariate.channels) for covariate in self.covariates)
        ends = accumulate(lengths, initial=0)
        return tuple(slice(start, stop) for start, stop in pairwise(ends))


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """All channels, in the order of the network."""

    target: str
    forcings: ChannelGroup = ChannelGroup()
    """Covariates with a date."""
    statics: ChannelGroup = ChannelGroup()
    """Covariates without a date."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all channels."""
        groups = {
            "target": (self.target,),
            "valid": ("valid",),
            "forcings": self.forcings.names,
            "statics": self.statics.names,
        }
        return tuple(name for group in ORDER for name in groups[group])
