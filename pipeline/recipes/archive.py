"""What an archive of rasters holds, and onto which grid it goes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.recipes.base import RecipePart
from stores.times import Step

Resampling = Literal["auto", "nearest", "mode", "bilinear", "cubic", "average"]

_NAME = re.compile(r"^[a-z][a-z0-9_]{0,40}$")


class VariableRecipe(RecipePart):
    """One variable of the archive and the files that hold it."""

    files: str = Field(min_length=1, max_length=500)
    """Pattern below archive.root; {time:%Y.%m} is the date as in strftime, * is anything."""
    units: str
    """Units as UDUNITS writes them, such as 'mm month-1'; '1' for none."""
    long_name: str = ""
    """What a legend says."""
    standard_name: str | None = None
    """CF standard name, where there is one."""
    kind: Literal["continuous", "classes"] = "continuous"
    """Classes are never averaged."""
    resampling: Resampling = "auto"
    """How other grids are warped; auto: average or bilinear, for classes mode or nearest."""
    band: int = Field(1, ge=1)
    """Band of the file, from 1."""
    nodata: float | None = None
    """A marker of missing pixels beside the one that the file declares."""
    valid_range: tuple[float, float] | None = None
    """Values outside are counted and become invalid [units]."""
    share_of: tuple[int, ...] = ()
    """Class codes: the variable is the share of a pixel that they cover, from 0 to 1.

    Codes are no quantities, so a map of classes is no covariate; the share of some is one.
    """

    @model_validator(mode="after")
    def _a_share_is_a_quantity(self) -> Self:
        if self.share_of and (self.kind == "classes" or self.resampling in ("nearest", "mode")):
            raise ValueError(
                f"share_of={list(self.share_of)} makes shares, which are averaged, but kind="
                f"{self.kind!r} and resampling={self.resampling!r} keep codes apart; leave "
                "both out"
            )
        return self

    @property
    def has_time(self) -> bool:
        """Tell whether there is a file per date."""
        return "{time:" in self.files


class GridRecipe(RecipePart):
    """The one grid of the cube: that of a raster, or stated."""

    like: str | None = None
    """A GeoTIFF below archive.root whose grid is taken."""
    crs: str | None = None
    """CRS, such as 'EPSG:4326'."""
    transform: tuple[float, float, float, float, float, float] | None = None
    """Affine a, b, c, d, e, f: x = a col + b row + c, y = d col + e row + f [CRS units]."""
    shape: tuple[int, int] | None = None
    """Rows and columns [px]."""

    @model_validator(mode="after")
    def _is_taken_or_stated(self) -> Self:
        stated = [value is not None for value in (self.crs, self.transform, self.shape)]
        if (self.like is not None) == any(stated) or (any(stated) and not all(stated)):
            raise ValueError(
                f"grid has like={self.like!r}, crs={self.crs!r}, transform={self.transform!r}, "
                f"shape={self.shape!r}, so the grid is not fixed by exactly one of two ways; "
                "write 'like', or all of 'crs', 'transform' and 'shape'"
            )
        return self


class ArchiveRecipe(RecipePart):
    """A folder of rasters."""

    root: Path
    """Folder of the archive; relative to the recipe."""
    step: str = "month"
    """Distance between two frames: 'month', 'week', '5 years', '12 hours', '30 seconds'."""
    start: str | None = None
    """First date that is read; the archive's first by default."""
    end: str | None = None
    """Last date that is read; the archive's last by default."""
    gaps: Literal["refuse", "accept"] = "refuse"
    """Whether missing, unreadable and empty steps stop the ingest or become invalid frames."""
    variables: dict[str, VariableRecipe] = Field(min_length=1)
    """Variables by name."""

    @field_validator("step")
    @classmethod
    def _step_is_a_calendar_step(cls, step: str) -> str:
        return str(Step.parse(step))

    @field_validator("variables")
    @classmethod
    def _names_are_plain(
        cls, variables: dict[str, VariableRecipe]
    ) -> dict[str, VariableRecipe]:
        for name in variables:
            if not _NAME.match(name):
                raise ValueError(
                    f"variable name {name!r} cannot become the name of an array; "
                    "use lower-case letters, digits and '_', starting with a letter"
                )
        return variables
