"""Parts that share no frame, or no pixel, or neither; and folds of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np

from stores.formatting import pluralize
from stores.times import Step, Time, Times, format_dates, parse_end, parse_time

PARTS = ("train", "validation", "test")
FITTED_PARTS = ("train", "validation")
"""Parts that a model is made of; the others only ask what it can do."""
CALIBRATION = "calibration"
"""The part that margins of intervals are learned on, where there is one."""


@dataclass(frozen=True, slots=True)
class SpatialSplit:
    """Which pixels belong to each part: whole blocks or whole groups, with a buffer between."""

    block_px: int | None = None
    """Side of the square blocks that are assigned to parts [px]; None for groups."""
    groups: str | None = None
    """A static variable with one number per group."""
    correlation_px: int = 0
    """Distance that stays unused between parts [px]."""
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Fractions of train, validation and test."""
    seed: int = 0

    @property
    def buffer_px(self) -> int:
        """Pixels that stay unused on either side of a border between parts."""
        return -(-self.correlation_px // 2)

    @property
    def unit_name(self) -> str:
        """What is assigned to parts: blocks or groups."""
        return "blocks" if self.groups is None else "groups"

    def __str__(self) -> str:
        of = f"{self.block_px} px" if self.groups is None else repr(self.groups)
        return (
            f"spatial split: {self.unit_name} of {of}, "
            f"{self.correlation_px} px buffer between parts"
        )


@dataclass(frozen=True, slots=True)
class Split:
    """First and last frame of each part; a sample lies in one part with all its frames."""

    date_ranges: Mapping[str, tuple[str, str]]
    """Of train, validation, test and at will calibration: dates, as in ``2012-06``; an end
    holds all that it names."""
    gap: int = 0
    """Frames left unused between two parts [steps]."""
    folds: int | None = None
    """Number of folds of what is not test: of time, or with ``place`` of blocks or groups."""
    fold: int = 0
    """The fold that validates, from 0; the others train."""
    place: SpatialSplit | None = None
    """Spatial split: pixels of each part, which may share frames then."""

    @classmethod
    def from_json(cls, recipe: Mapping[str, Any]) -> Self:
        """Read the split of a dated recipe, as a bundle keeps it."""
        parts = [part for part in (*PARTS, CALIBRATION) if recipe.get(part) is not None]
        place = recipe.get("place")
        if place is not None:
            place = SpatialSplit(**place | {"shares": tuple(place["shares"])})
        return cls(
            date_ranges={part: (recipe[part][0], recipe[part][1]) for part in parts},
            gap=recipe.get("gap", 0),
            folds=recipe.get("folds"),
            fold=recipe.get("fold", 0),
            place=place,
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts, that of the calibration last."""
        return tuple(self.date_ranges)

    def bounds(self, part: str) -> tuple[Time, Time]:
        """Return the first and the last second of a part: an end holds all that it names."""
        start, end = self.date_ranges[part]
        return parse_time(start), parse_end(end)

    def segments(self, part: str, step: Step) -> list[Times]:
        """List the frames of a part, one array (time,) for each stretch without a hole."""
        if not self._has_time_folds or part not in FITTED_PARTS:
            pieces = [step.range(*self.bounds(part))]
        else:
            pool = self._fold_times(step)
            start, stop = self._fold_range(step)
            train = [pool[: max(0, start - self.gap)], pool[stop + self.gap :]]
            pieces = [pool[start:stop]] if part == "validation" else train
        return [piece for piece in pieces if len(piece)]

    def frames(self, part: str, step: Step) -> Times:
        """List the frames of a part (time,); a hole is where a fold was left out."""
        return np.concatenate([np.empty(0, "datetime64[s]"), *self.segments(part, step)])

    def label(self, part: str, step: Step) -> str:
        """Return the first and last frame of each stretch of a part, as keys of scores do."""
        segments = self.segments(part, step)
        ends = ([step.label(frames[0]), step.label(frames[-1])] for frames in segments)
        return " and ".join(" to ".join(dict.fromkeys(pair)) for pair in ends)

    def format_part(self, part: str, step: Step) -> str:
        """Return the first and last frame of each stretch of a part, as text for people."""
        return format_dates(self.label(part, step))

    def describe(self, step: Step) -> str:
        """Describe how parts are made, beyond their dates; empty where dates are all."""
        phrases = [] if self.place is None else [str(self.place)]
        if self.folds is not None:
            phrases.append(f"fold {self.fold} of 0-{self.folds - 1} validates")
        if self._has_time_folds:
            phrases[-1] += f" ({self.format_part('validation', step)})"
            phrases.append(f"{pluralize(self.gap, 'frame')} free around it")
        return ", ".join(phrases)

    @property
    def _has_time_folds(self) -> bool:
        """Whether folds are stretches of time; with ``place`` they are of blocks or groups."""
        return self.folds is not None and self.place is None

    def _fold_times(self, step: Step) -> Times:
        """List the frames (time,) cut into folds: first of train to last of validation."""
        ends = [*self.bounds("train"), *self.bounds("validation")]
        return step.range(min(ends), max(ends))

    def _fold_range(self, step: Step) -> tuple[int, int]:
        """Return the indices of the fold in the frames cut into folds, the stop excluded."""
        assert self.folds is not None
        n = len(self._fold_times(step))
        return n * self.fold // self.folds, n * (self.fold + 1) // self.folds

    def check_leaks(self, step: Step) -> None:
        """Refuse parts that share frames or stand closer than ``gap``.

        Parts that share no pixel may share frames; where they do not, the gap is kept. While
        it is not known on which dates frames of several units lie, as of ``5 months``, only
        what leaks on all of them is refused: ask again with the step of the series.

        Raises:
            ValueError: the split leaks.
        """
        ordered = sorted(self.parts, key=lambda part: self.bounds(part)[0])
        for before, after in combinations(ordered, 2):
            end = self.bounds(before)[1]
            start = self.bounds(after)[0]
            if self.place is not None and start <= end:
                continue
            free = step.frames_between(end, start)
            if free < self.gap:
                raise ValueError(
                    f"split leaks: {before} ends {step.format(end)} and {after} begins "
                    f"{step.format(start)}, {self._lack(free, after)}; let {after} begin "
                    f"{step.format(step.behind(end, self.gap))} or later"
                )
        first, last = sorted(ordered.index(part) for part in FITTED_PARTS)
        if self._has_time_folds and last - first > 1:
            inner = ordered[first + 1]
            raise ValueError(
                f"split.{inner}={list(self.date_ranges[inner])} lies between train and "
                "validation, so folds cut from the first to the last of those would hold it; "
                f"let {inner} begin after both, or end before both"
            )

    def _lack(self, free: int, after: str) -> str:
        """Describe what is wrong with ``free`` frames between two parts, and what follows."""
        if free < 0:
            return f"so they share frames and {after} would be scored on what was learned"
        return (
            f"which leaves {pluralize(free, 'frame')} between them, fewer than gap={self.gap}, "
            f"so {after} would begin with what is nearly the last that was learned"
        )
