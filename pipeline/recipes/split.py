"""Which parts are asked for, and how offsets in them become dates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, PrivateAttr, model_validator

from pipeline.limits import MAX_STEPS
from pipeline.recipes.base import RecipePart
from pipeline.recipes.date_offsets import check_bound, is_offset, resolve_bound
from pipeline.recipes.spatial_split import SpatialSplitRecipe
from pipeline.split import CALIBRATION, PARTS, Split
from stores.times import Step, Time

_Bound = Annotated[str, Field(min_length=1, max_length=40)]
DateRange = tuple[_Bound, _Bound]


class SplitRecipe(RecipePart):
    """First and last frame of each part; a sample lies in one part with all its frames.

    An end holds all that it names: ``2012`` as the end of daily frames is its last day. Each
    is a date, or counts from the newest frame of the target: ``-4 years``,
    ``-18 months``, ``-30 days``, ``-2 steps``, ``newest``.
    """

    train: DateRange
    """First and last frame that is learned from."""
    validation: DateRange
    """First and last frame that early stopping sees."""
    test: DateRange
    """First and last frame that only the final scores see."""
    calibration: DateRange | None = None
    """First and last frame that only margins of intervals are learned from; by default they
    are learned on validation, which also chooses the epoch."""
    gap: int = Field(0, ge=0, le=MAX_STEPS)
    """Frames left unused between two parts [steps]."""
    folds: int | None = Field(None, ge=2, le=1000)
    """Number of folds of what is no test: stretches of time, with place groups of pixels."""
    fold: int = Field(0, ge=0, le=1000)
    """The fold that validates, from 0; the others train."""
    place: SpatialSplitRecipe | None = None
    """Pixels of each part; parts may share frames then."""
    _written: SplitRecipe | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _every_bound_can_be_read(self) -> Self:
        for name in self.parts:
            for bound in getattr(self, name):
                check_bound(bound)
        return self

    @model_validator(mode="after")
    def _every_part_begins_before_it_ends(self) -> Self:
        split = self.to_split()
        for name in self.parts if self.is_resolved else ():
            start, end = split.bounds(name)
            if end < start:
                raise ValueError(f"split.{name} ends before it begins: {getattr(self, name)}")
        return self

    @model_validator(mode="after")
    def _the_fold_is_one_of_them(self) -> Self:
        if self.folds is None and self.fold:
            raise ValueError(
                f"split.fold={self.fold} is given without split.folds, so it would have no "
                "effect; write the number of folds too, such as folds: 5"
            )
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(
                f"split.fold={self.fold} is none of the {self.folds} folds, so nothing would "
                f"validate; choose one from 0 to {self.folds - 1}"
            )
        return self

    @model_validator(mode="after")
    def _no_pixel_is_assigned_to_calibration(self) -> Self:
        if self.calibration is not None and self.place is not None:
            raise ValueError(
                f"split.calibration={list(self.calibration)} with split.place, which "
                "assigns pixels to train, validation and test alone, so margins would be "
                "learned where the model learned or is scored; leave one of both out"
            )
        return self

    @property
    def is_resolved(self) -> bool:
        """Check whether every bound is a date, so that parts can be listed."""
        return not any(is_offset(bound) for name in self.parts for bound in getattr(self, name))

    @property
    def unresolved(self) -> SplitRecipe:
        """The split as it was written, with offsets where dates stand in their place."""
        return self._written or self

    def with_dates(self, dates: Mapping[str, tuple[str, str]]) -> SplitRecipe:
        """Return the split with dates for its parts; it knows how it was written."""
        dated = self.replace(**dates)
        dated._written = self.unresolved
        return dated

    @property
    def parts(self) -> tuple[str, ...]:
        """List the parts that there are, that of the calibration last."""
        return PARTS if self.calibration is None else (*PARTS, CALIBRATION)

    @property
    def calibration_part(self) -> str:
        """Return the part that margins of intervals are learned on."""
        return "validation" if self.calibration is None else CALIBRATION

    def to_split(self) -> Split:
        """Return the plain split that samples are planned from; its ends have to be dates."""
        return Split(
            {part: getattr(self, part) for part in self.parts},
            self.gap,
            self.folds,
            self.fold,
            None if self.place is None else self.place.to_spatial_split(),
        )


def resolve_split(split: SplitRecipe, step: Step, newest: Time) -> SplitRecipe:
    """Return the split with dates in place of offsets from ``newest``, the target's last frame.

    Raises:
        ValueError: a part ends before it begins.
    """
    if split.is_resolved:
        return split
    parts = {name: getattr(split, name) for name in split.parts}
    return split.with_dates(
        {
            name: (resolve_bound(start, newest, step), resolve_bound(end, newest, step))
            for name, (start, end) in parts.items()
        }
    )
