"""How far a forecast looks: the number that makes tiles exact."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.models.receptive_field import ReceptiveField


@dataclass(frozen=True, slots=True)
class Reach:
    """Exact dependency radius of a sliding-window rollout, and the total stride of the network.

    A pixel of lead ``n`` depends on observed pixels at most ``radius(n)`` away, and on none
    farther. Each further call adds less than the first, because the frames it feeds back are
    read last and cross only the depth of the network, not its whole memory.
    """

    first_px: int
    """Radius of the first call."""
    further_px: int
    """What every further call adds; 0 without feedback."""
    stride: int = 1
    """Origins of tiles have to be multiples of this."""
    emits: int = 1
    """Leads that one call forecasts."""

    def radius(self, leads: int) -> int:
        """Return the halo that ``leads`` need [px]."""
        if leads < 1:
            raise ValueError(f"leads={leads} is not a forecast; ask for 1 or more")
        return self.first_px + (math.ceil(leads / self.emits) - 1) * self.further_px


def measure_reach(
    field: ReceptiveField, *, feedback: ReceptiveField | None, emits: int = 1
) -> Reach:
    """Derive the reach of a rollout from what one call of the network looks at.

    Args:
        field: what one call sees of all that it reads.
        feedback: what it sees of the frames that the call before it forecast; None when it
            reads none of its own output. Older frames must not be seen farther than through the
            calls between, which holds where every step of time costs the same kernel.
        emits: leads that one call forecasts.
    """
    first_px = field.radius
    if feedback is None:
        return Reach(first_px, 0, field.period, emits)
    stride = math.lcm(field.period, feedback.period)
    further_px = 0
    composed = field
    # The phase at which a cone ends repeats after at most ``stride`` calls, so its growth is a
    # fraction with at most that denominator: these calls are enough to bound all of them.
    for calls in range(1, 2 * stride**2 + 2):
        composed = feedback.compose(composed)
        further_px = max(further_px, math.ceil((composed.radius - first_px) / calls))
    return Reach(first_px, further_px, stride, emits)
