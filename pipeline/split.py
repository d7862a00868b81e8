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
    """Which pixels each part gets: whole blocks or whole groups, with free pixels between."""

    block_px: int | None = None
    """Side of the square blocks that are dealt to parts [px]; or groups."""
    groups: str | None = None
    """A static variable with one number per group."""
    correlation_px: int = 0
    """Distance that stays free between parts [px]."""
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Of train, validation and test."""
    seed: int = 0

    @property
    def buffer_px(self) -> int:
        """Pixels that stay free on either side of a border between parts."""
        return -(-self.correlation_px // 2)

    @property
    def unit_name(self) -> str:
        """Name what is dealt to parts."""
        return "blocks" if self.groups is None else "groups"

    def __str__(self) -> str:
        of = f"{self.block_px} px" if self.groups is None else repr(self.groups)
        return (
            f"by place: {self.unit_name} of {of}, {self.correlation_px} px free between parts"
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
    """Number of folds of what is no test: stretches of time, with ``place`` of pixels."""
    fold: int = 0
    """The fold that validates, from 0; the others train."""
    place: SpatialSplit | None = None
    """Pixels of each part; parts may share frames then."""

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        """Read the split of a dated recipe, as a bundle keeps it."""
        named = [part for part in (*PARTS, CALIBRATION) if written.get(part) is not None]
        place = written.get("place")
        return cls(
            {part: (written[part][0], written[part][1]) for part in named},
            written.get("gap", 0),
            written.get("folds"),
            written.get("fold", 0),
            None
            if place is None
            else SpatialSplit(**place | {"shares": tuple(place["shares"])}),
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """Name the parts that there are, that of the calibration last."""
        return tuple(self.date_ranges)

    def bounds(self, part: str) -> tuple[Time, Time]:
        """Give the first second of a part and its last: an end holds all that it names."""
        start, end = self.date_ranges[part]
        return parse_time(start), parse_end(end)

    def segments(self, part: str, step: Step) -> list[Times]:
        """List the frames of a part, one piece for each stretch without a hole."""
        if not self._has_time_folds or part not in FITTED_PARTS:
            pieces = [step.range(*self.bounds(part))]
        else:
            pool, (start, stop) = self._fold_times(step), self._fold_range(step)
            before, after = pool[: max(0, start - self.gap)], pool[stop + self.gap :]
            pieces = [pool[start:stop]] if part == "validation" else [before, after]
        return [piece for piece in pieces if len(piece)]

    def frames(self, part: str, step: Step) -> Times:
        """List the frames of a part; there may be a hole where a fold was left out."""
        return np.concatenate([np.empty(0, "datetime64[s]"), *self.segments(part, step)])

    def label(self, part: str, step: Step) -> str:
        """Name the first and last frame of each stretch of a part, as keys of scores do."""
        ends = ([step.label(p[0]), step.label(p[-1])] for p in self.segments(part, step))
        return " and ".join(" to ".join(dict.fromkeys(pair)) for pair in ends)

    def format_part(self, part: str, step: Step) -> str:
        """Write the first and last frame of each stretch of a part for people."""
        return format_dates(self.label(part, step))

    def describe(self, step: Step) -> str:
        """Say how parts are made, beyond their dates; empty where there is no more to say."""
        said = [] if self.place is None else [str(self.place)]
        if self.folds is not None:
            said.append(f"fold {self.fold} of 0-{self.folds - 1} validates")
        if self._has_time_folds:
            said[-1] += f" ({self.format_part('validation', step)})"
            said.append(f"{pluralize(self.gap, 'frame')} free around it")
        return ", ".join(said)

    @property
    def _has_time_folds(self) -> bool:
        """Tell whether folds are stretches of time; with ``place`` they are of its groups."""
        return self.folds is not None and self.place is None

    def _fold_times(self, step: Step) -> Times:
        """List what is cut into folds: from the first of train to the last of validation."""
        ends = [*self.bounds("train"), *self.bounds("validation")]
        return step.range(min(ends), max(ends))

    def _fold_range(self, step: Step) -> tuple[int, int]:
        """Give the places of the fold in the pool, ``terminate_trees`` excluded."""
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
            end, start = self.bounds(before)[1], self.bounds(after)[0]
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
        """Say what is wrong with two parts with so many frames between them, and so what."""
        if free < 0:
            return f"so they share frames and {after} would be scored on what was learned"
        return (
            f"which leaves {pluralize(free, 'frame')} between them, fewer than gap={self.gap}, so "
            f"{after} would begin with what is nearly the last that was learned"
        )
