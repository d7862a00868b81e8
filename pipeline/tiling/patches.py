"""Patches: the windows that training cuts out of a grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stores.windows import Window


def plan_patches(domain: npt.NDArray[np.bool_], *, side: int, min_valid: float) -> list[Window]:
    """Cover the domain (y, x) with square patches of one shape, row by row [px].

    Patches stand edge to edge; the last ones are shifted inward. Those with a smaller share of
    domain pixels than ``min_valid`` are left out, and so are empty ones.

    Raises:
        ValueError: no patch holds enough of the domain.
    """
    height, width = (min(side, length) for length in domain.shape)
    patches = [
        Window(y, y + height, x, x + width)
        for y in _starts(domain.shape[0], height)
        for x in _starts(domain.shape[1], width)
    ]
    shares = [float(domain[patch.slices].mean()) for patch in patches]
    kept = [
        p for p, share in zip(patches, shares, strict=True) if share >= max(min_valid, 1e-12)
    ]
    if not kept:
        raise ValueError(
            f"no patch of {height} x {width} px has {min_valid:.0%} of its pixels in the "
            f"domain (the best has {max(shares):.1%}), so there is nothing to learn from; "
            "lower training.min_valid or training.patch_px"
        )
    return kept


def _starts(length: int, side: int) -> list[int]:
    """Give the first pixel of each patch along one axis."""
    return sorted({min(start, length - side) for start in range(0, length, side)})
