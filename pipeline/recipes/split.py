"""Parts that share no frame, or no pixel, or neither; and folds of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Annotated, Self

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from pipeline.recipes.base import MOST_STEPS, RecipePart
from pipeline.recipes.offsets import check_bound, is_offset, resolve_bound
from pipeline.recipes.place import PlaceRecipe
from stores.counting import count
from stores.times import Step, Time, Times, parse_end, parse_time, spell_dates

PARTS = ("train", "validation", "test")
LEARNED = ("train", "validation")
"""Parts that a model is made of; the others only ask what it can do."""
_CALIBRATION = "calibration"
_Bound = Annotated[str, Field(min_length=1, max_length=40)]
Ends = tuple[_Bound, _Bound]


class SplitRecipe(RecipePart):
    """First and last frame of each part; a sample lies in one part with all its frames.

    An end holds all that it names: ``2012`` as the end of daily frames is its last day. Each
    is a date, or counts from the newest frame of the target: ``-4 years``,
    ``-18 months``, ``-30 days``, ``-2 steps``, ``newest``.
    """

    train: Ends
    """First and last frame that is learned from."""
    validation: Ends
    """First and last frame that early stopping sees."""
    test: Ends
    """First and last frame that only the final scores see."""
    calibration: Ends | None = None
    """First and last frame that only margins of intervals are learned from; by default they
    are learned on validation, which also chooses the epoch."""
    gap: int = Field(0, ge=0, le=MOST_STEPS)
    """Frames left unused between two parts [steps]."""
    folds: int | None = Field(None, ge=2, le=1000)
    """Number of folds of what is no test: stretches of time, with place groups of pixels."""
    fold: int = Field(0, ge=0, le=1000)
    """The fold that validates, from 0; the others train."""
    place: PlaceRecipe | None = None
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
        for name in self.parts if self.is_dated else ():
            start, end = self.bounds(name)
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
    def _no_place_is_dealt_to_calibration(self) -> Self:
        if self.calibration is not None and self.place is not None:
            raise ValueError(
                f"split.calibration={list(self.calibration)} with split.place, which deals "
                "pixels to train, validation and test alone, so margins would be learned where "
                "the model learned or is scored; leave one of both out"
            )
        return self

    @property
    def is_dated(self) -> bool:
        """Tell whether every bound is a date, so that parts can be listed."""
        return not any(is_offset(bound) for name in self.parts for bound in getattr(self, name))

    @property
    def written(self) -> SplitRecipe:
        """The split as it was written, with offsets where dates stand in their place."""
        return self._written or self

    def with_dates(self, dates: Mapping[str, tuple[str, str]]) -> SplitRecipe:
        """Return the split with dates for its parts; it knows how it was written."""
        dated = self.with_values(**dates)
        dated._written = self.written
        return dated

    @property
    def parts(self) -> tuple[str, ...]:
        """Name the parts that there are, that of the calibration last."""
        return PARTS if self.calibration is None else (*PARTS, _CALIBRATION)

    @property
    def margins_part(self) -> str:
        """Name the part that margins of intervals are learned on."""
        return "validation" if self.calibration is None else _CALIBRATION

    def bounds(self, part: str) -> tuple[Time, Time]:
        """Give the first second of a part and its last: an end holds all that it names."""
        start, end = getattr(self, part)
        return parse_time(start), parse_end(end)

    def stretches(self, part: str, step: Step) -> list[Times]:
        """List the frames of a part, one piece for each stretch without a hole."""
        if not self._cuts_time or part not in LEARNED:
            pieces = [step.range(*self.bounds(part))]
        else:
            pool, (start, stop) = self._pool(step), self._cut(step)
            before, after = pool[: max(0, start - self.gap)], pool[stop + self.gap :]
            pieces = [pool[start:stop]] if part == "validation" else [before, after]
        return [piece for piece in pieces if len(piece)]

    def frames(self, part: str, step: Step) -> Times:
        """List the frames of a part; there may be a hole where a fold was left out."""
        return np.concatenate([np.empty(0, "datetime64[s]"), *self.stretches(part, step)])

    def label(self, part: str, step: Step) -> str:
        """Name the first and last frame of each stretch of a part, as keys of scores do."""
        ends = ([step.label(p[0]), step.label(p[-1])] for p in self.stretches(part, step))
        return " and ".join(" to ".join(dict.fromkeys(pair)) for pair in ends)

    def show(self, part: str, step: Step) -> str:
        """Write the first and last frame of each stretch of a part for people."""
        return spell_dates(self.label(part, step))

    def words(self, step: Step) -> str:
        """Say how parts are made, beyond their dates; empty where there is no more to say."""
        said = [] if self.place is None else [str(self.place)]
        if self.folds is not None:
            said.append(f"fold {self.fold} of 0-{self.folds - 1} validates")
        if self._cuts_time:
            said[-1] += f" ({self.show('validation', step)})"
            said.append(f"{count(self.gap, 'frame')} free around it")
        return ", ".join(said)

    @property
    def _cuts_time(self) -> bool:
        """Tell whether folds are stretches of time; with ``place`` they are of its groups."""
        return self.folds is not None and self.place is None

    def _pool(self, step: Step) -> Times:
        """List what is cut into folds: from the first of train to the last of validation."""
        ends = [*self.bounds("train"), *self.bounds("validation")]
        return step.range(min(ends), max(ends))

    def _cut(self, step: Step) -> tuple[int, int]:
        """Give the places of the fold in the pool, ``stop`` excluded."""
        assert self.folds is not None
        n = len(self._pool(step))
        return n * self.fold // self.folds, n * (self.fold + 1) // self.folds

    def check(self, step: Step) -> None:
        """Refuse parts that share frames or stand closer than ``gap``.

        Parts that share no pixel may share frames; where they do not, the gap is kept. While
        it is not known on which dates frames of several units lie, as of ``5 months``, only
        what leaks on all of them is refused: ask again with the step of the series.

        Raises:
            ValueError: the split leaks.
        """
        ordered = sorted(self.parts, key=lambda part: self.bounds(part)[0])
        for before, after in combinations(ordered, 2):
            end, start = self.bounds(before)[1], self.bounds(after)[0]
            if self.place is not None and start <= end:
                continue
            free = step.frames_between(end, start)
            if free < self.gap:
                raise ValueError(
                    f"split leaks: {before} ends {step.show(end)} and {after} begins "
                    f"{step.show(start)}, {self._lack(free, after)}; let {after} begin "
                    f"{step.show(step.behind(end, self.gap))} or later"
                )
        first, last = sorted(ordered.index(part) for part in LEARNED)
        if self._cuts_time and last - first > 1:
            inner = ordered[first + 1]
            raise ValueError(
                f"split.{inner}={list(getattr(self, inner))} lies between train and "
                "validation, so folds cut from the first to the last of those would hold it; "
                f"let {inner} begin after both, or end before both"
            )

    def _lack(self, free: int, after: str) -> str:
        """Say what is wrong with two parts with so many frames between them, and so what."""
        if free < 0:
            return f"so they share frames and {after} would be scored on what was learned"
        return (
            f"which leaves {count(free, 'frame')} between them, fewer than gap={self.gap}, so "
            f"{after} would begin with what is nearly the last that was learned"
        )


def resolve_split(split: SplitRecipe, step: Step, newest: Time) -> SplitRecipe:
    """Return the split with dates in place of offsets from ``newest``, the target's last frame.

    Raises:
        ValueError: a part ends before it begins.
    """
    if split.is_dated:
        return split
    parts = {name: getattr(split, name) for name in split.parts}
    return split.with_dates(
        {
            name: (resolve_bound(start, newest, step), resolve_bound(end, newest, step))
            for name, (start, end) in parts.items()
        }
    )
