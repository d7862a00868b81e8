"""How clients may draw the COGs of an issue: colors by quantity, limits by the values.

Source: STAC extension ``render`` v2.0.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stores.colors import INTERVAL_WIDTH_COLORMAP, find_colormaps

_N_SIGMA = 2.5  # standard deviations about the mean; a single wild pixel spoils no map
_DIGITS = 3


def pick_colormap(attributes: Mapping[str, Any]) -> str:
    """Return the color map of a variable as tile servers name it; its page has the same."""
    if "standard_deviation" in attributes.get("cell_methods", ""):
        return INTERVAL_WIDTH_COLORMAP.lower()
    found = find_colormaps(attributes.get("units", ""), attributes.get("standard_name", ""))
    return found.sequential.lower()


def build_render(
    title: str, colors: str, assets: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Describe one map that all frames of a variable share, so that they can be compared.

    Args:
        title: what is drawn.
        colors: name of a color map.
        assets: statistics of each frame, by the key of its asset.
    """
    render = {
        "title": title,
        "assets": list(assets),
        "colormap_name": colors,
        "nodata": "nan",
        "resampling": "nearest",
    }
    limits = _limits(assets.values())
    return render | ({"rescale": [limits]} if limits else {})


def _limits(statistics: Iterable[Mapping[str, float]]) -> list[float]:
    """Compute limits between which most pixels of all frames lie; [] without a valid one."""
    valid = [frame for frame in statistics if "mean" in frame]
    if not valid:
        return []
    lows = (
        max(frame["minimum"], frame["mean"] - _N_SIGMA * frame["stddev"]) for frame in valid
    )
    highs = (
        min(frame["maximum"], frame["mean"] + _N_SIGMA * frame["stddev"]) for frame in valid
    )
    return [float(f"{limit:.{_DIGITS}g}") for limit in (min(lows), max(highs))]
