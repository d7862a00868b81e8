"""How far a forecast looks: the number that makes tiles exact."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reach:
    """Exact dependency radius of a sliding-window rollout, and the total stride of the network.

    A pixel of lead ``n`` depends on observed pixels at most ``radius(n)`` away, and on none
    farther. Each further lead adds less than the first, because the frame it feeds back is read
    last and crosses only the depth of the network, not its whole memory.
    """

    first_px: int
    """Radius of the first lead."""
    further_px: int
    """What every further lead adds."""
    stride: int = 1
    """Origins of tiles have to be multiples of this."""

    def radius(self, leads: int) -> int:
        """Give the halo that ``leads`` need [px]."""
        if leads < 1:
            raise ValueError(f"leads={leads} is not a forecast; ask for 1 or more")
        return self.first_px + (leads - 1) * self.further_px


def convlstm_reach(*, kernel: int, layers: int, history: int, head_px: int) -> Reach:
    """Give the reach of stacked ConvLSTM cells with zero initial states.

    With kernel radius r, L layers, T frames and head radius h, H leads look
    ``r (T + L - 1) + h + (H - 1)(r L + h)`` pixels far: a signal crosses each layer once, and
    in one of them time as well; what is fed back enters at the last frame and crosses layers
    only. Checked against the gradient of real networks in the tests.
    """
    r = kernel // 2
    return Reach(first_px=r * (history + layers - 1) + head_px, further_px=r * layers + head_px)
