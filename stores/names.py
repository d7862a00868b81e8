"""Names that are written to disk, and which names may be."""

import re
from pathlib import Path

TIME = "time"
Y = "y"
X = "x"
SPATIAL_REF = "spatial_ref"
INIT_TIME = "init_time"
LEAD = "lead"
FORECAST_PERIOD = "forecast_period"
TIME_BNDS = "time_bnds"
BNDS = "bnds"
YEAR = "year"
"""Dimension of annual variables."""
DOMAIN = "domain"
"""Name of the map that says where a forecast is made (1) and where not (0)."""

RESERVED_NAMES = frozenset(
    {TIME, TIME_BNDS, BNDS, YEAR, Y, X, SPATIAL_REF, INIT_TIME, LEAD, FORECAST_PERIOD, DOMAIN}
)
"""Names of coordinates and maps of our own, which no variable may take."""

_ID = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$")


def check_id(name: str, what: str) -> str:
    """Return ``name`` when it may become a file name, a Zarr key and a URL.

    Raises:
        ValueError: it holds characters that could leave its folder or need quoting.
    """
    if not _ID.fullmatch(name):
        raise ValueError(
            f"{what}={name!r} is not a plain name, so it cannot become a file name; "
            "use letters, digits, '_', '-' and '.', at most 64, starting with a letter or digit"
        )
    return name


def resolve_under(root: Path, name: str) -> Path:
    """Join ``name`` to ``root`` and refuse what would leave it.

    Raises:
        ValueError: the joined path lies outside ``root``.
    """
    try:
        path = (root / name).resolve()
    except (OSError, RuntimeError) as error:  # a link that leads to itself
        raise ValueError(
            f"{name!r} leads nowhere ({error}), so it is refused; remove the link"
        ) from error
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"{name!r} leads out of {root}, so it is refused; stay inside")
    return path
