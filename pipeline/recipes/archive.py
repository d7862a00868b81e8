"""What an archive of rasters holds, and onto which grid it goes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.limits import MAX_SIDE_PX
from pipeline.recipes.base import RecipePart, ShortText
from stores.archive import Pattern
from stores.names import RESERVED_NAMES
from stores.times import HELD, Step, Time, is_held, parse_end, parse_time

AffineCoefficients = tuple[float, float, float, float, float, float]
Resampling = Literal["auto", "nearest", "mode", "bilinear", "cubic", "average"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_MAX_WILDCARDS = 8
_MAX_COORDINATE = 1e9  # a coordinate of a grid [CRS units]
_MAX_CLASS_CODE = 10**9  # codes of classes fit into 32 bits
_Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
# CF conventions 1.11, appendix E, and how section 7.3 qualifies a method.
_METHOD_WORDS = (
    *("point", "sum", "mean", "maximum", "minimum", "median", "mid_range", "range", "mode"),
    *("standard_deviation", "variance", "sum_of_squares", "root_mean_square"),
    *("maximum_absolute_value", "minimum_absolute_value", "mean_absolute_value"),
    "mean_of_upper_decile",
)
_WORD = "|".join(_METHOD_WORDS)
_METHOD = rf"(?:\w+: )+(?:{_WORD})(?: (?:within|over|where) \w+)*(?: \([^()]*\))?"
_METHODS = re.compile(f"{_METHOD}(?: {_METHOD})*")


class VariableRecipe(RecipePart):
    """One variable of the archive and the files that hold it."""

    files: str = Field(min_length=1, max_length=500)
    """Pattern below archive.root; {time:%Y.%m} is the date as in strftime, * is anything."""
    units: str = Field(min_length=1, max_length=100)
    """Units as UDUNITS writes them, such as 'mm month-1'; '1' for none."""
    long_name: ShortText = ""
    """What a legend says."""
    standard_name: ShortText | None = None
    """CF standard name, where there is one."""
    cell_methods: ShortText = ""
    """What a value is of its cell, as CF writes it: 'time: mean', 'time: sum', 'time: point';
    not said by default."""
    kind: Literal["continuous", "classes"] = "continuous"
    """Classes are never averaged."""
    resampling: Resampling = "auto"
    """How other grids are warped; auto: average or bilinear, for classes mode or nearest."""
    band: int = Field(1, ge=1, le=65_535)
    """Band of the file, from 1."""
    nodata: float | None = None
    """A marker of missing pixels beside the one that the file declares."""
    valid_range: tuple[float, float] | None = None
    """Values outside are counted and become invalid [units]."""
    share_of: tuple[Annotated[int, Field(ge=-_MAX_CLASS_CODE, le=_MAX_CLASS_CODE)], ...] = ()
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

    @model_validator(mode="after")
    def _range_rises(self) -> Self:
        if self.valid_range is not None and self.valid_range[0] > self.valid_range[1]:
            raise ValueError(
                f"valid_range={list(self.valid_range)} ends before it begins, so every value "
                "would be invalid; write the smaller number first"
            )
        return self

    @field_validator("cell_methods")
    @classmethod
    def _methods_are_written_as_cf_does(cls, methods: str) -> str:
        if methods and not _METHODS.fullmatch(methods):
            known = ", ".join(_METHOD_WORDS)
            raise ValueError(
                f"cell_methods={methods!r} is not 'name: method', so no client understands it; "
                f"write such as 'time: mean', with one of {known}"
            )
        return methods

    @field_validator("files")
    @classmethod
    def _files_are_a_pattern(cls, files: str) -> str:
        _ = Pattern(files)
        if files.count("*") > _MAX_WILDCARDS:
            raise ValueError(
                f"files={files!r} holds more than {_MAX_WILDCARDS} '*', so every name would be "
                "compared in countless ways; write out what is the same in all names"
            )
        return files

    @property
    def has_time(self) -> bool:
        """Check whether there is a file per date."""
        return Pattern(self.files).has_date


class GridRecipe(RecipePart):
    """The one grid of the cube: that of a raster, or stated."""

    like: str | None = Field(None, min_length=1, max_length=500)
    """A GeoTIFF below archive.root whose grid is taken."""
    crs: str | None = Field(None, min_length=1, max_length=10_000)
    """CRS, such as 'EPSG:4326'."""
    transform: AffineCoefficients | None = None
    """Affine a, b, c, d, e, f: x = a col + b row + c, y = d col + e row + f [CRS units]."""
    shape: tuple[_Side, _Side] | None = None
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

    @field_validator("transform")
    @classmethod
    def _pixels_have_an_area(
        cls, transform: AffineCoefficients | None
    ) -> AffineCoefficients | None:
        if transform is None:
            return None
        a, b, c, d, e, f = transform
        if b or d:
            raise ValueError(
                f"transform={list(transform)} is rotated (b={b:g}, d={d:g}), so y and x would "
                "be no coordinates; state a north-up grid, with b and d 0"
            )
        if not a or not e or max(map(abs, (a, c, e, f))) > _MAX_COORDINATE:
            raise ValueError(
                f"transform={list(transform)} has pixels of {a:g} x {e:g} from ({c:g}, {f:g}), "
                f"so they have no area, or lie beyond {_MAX_COORDINATE:g} CRS units; write it "
                "as gdalinfo prints it: x = a col + b row + c, y = d col + e row + f"
            )
        return transform


class ArchiveRecipe(RecipePart):
    """A folder of rasters."""

    root: Path
    """Folder of the archive; relative to the recipe."""
    step: str = Field("month", max_length=40)
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
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"variable name {name!r} cannot become the name of an array; "
                    "use lower-case letters, digits and '_', starting with a letter"
                )
            if name in RESERVED_NAMES:
                raise ValueError(
                    f"variable name {name!r} is that of a coordinate or map of every store, "
                    "which it would replace; choose another name than "
                    f"{', '.join(sorted(RESERVED_NAMES))}"
                )
        return variables

    @model_validator(mode="after")
    def _files_are_dated_as_finely_as_the_step(self) -> Self:
        for name, variable in self.variables.items():
            try:
                Pattern(variable.files).cadence(Step.parse(self.step))
            except ValueError as error:
                raise ValueError(f"variables.{name}.{error}") from None
        return self

    @model_validator(mode="after")
    def _start_is_before_end(self) -> Self:
        start = None if self.start is None else _date(self.start, "start", parse_time)
        end = None if self.end is None else _date(self.end, "end", parse_end)
        if start is not None and end is not None and end < start:
            raise ValueError(
                f"start={self.start!r} is behind end={self.end!r}, so nothing would be read; "
                "exchange them"
            )
        return self


def _date(text: str, key: str, parse: Callable[[str], Time]) -> Time:
    try:
        time = parse(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    if not is_held(time):
        raise ValueError(
            f"{key}={text!r} lies beyond {HELD}, the dates that pandas and others who count "
            "nanoseconds can hold, so few could read the cube; write a date between them"
        )
    return time
