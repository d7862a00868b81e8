"""Parts by date that share no frame."""

from __future__ import annotations

from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from pipeline.recipes.base import RecipePart
from stores.times import Step, Time, Times, parse_time

PARTS = ("train", "validation", "test")


class SplitRecipe(RecipePart):
    """First and last frame of each part; a sample lies in one part with all its frames."""

    train: tuple[str, str]
    """First and last frame that is learned from."""
    validation: tuple[str, str]
    """First and last frame that early stopping sees."""
    test: tuple[str, str]
    """First and last frame that only the final scores see."""
    gap: int = Field(0, ge=0)
    """Frames left unused between two parts [steps]."""

    @model_validator(mode="after")
    def _every_part_begins_before_it_ends(self) -> Self:
        for name in PARTS:
            start, end = self.bounds(name)
            if end < start:
                raise ValueError(f"split.{name} ends before it begins: {getattr(self, name)}")
        return self

    def bounds(self, part: str) -> tuple[Time, Time]:
        """Give the first and last frame of a part."""
        start, end = getattr(self, part)
        return parse_time(start), parse_time(end)

    def frames(self, part: str, step: Step) -> Times:
        """List the frames of a part."""
        return step.range(*self.bounds(part))

    def check(self, step: Step) -> None:
        """Refuse parts that share frames or stand closer than ``gap``.

        Raises:
            ValueError: the split leaks.
        """
        ordered = sorted(PARTS, key=lambda part: self.bounds(part)[0])
        for before, after in pairwise(ordered):
            end, start = self.bounds(before)[1], self.bounds(after)[0]
            free = len(step.range(end, start)) - 2 if start > end else -1
            if free < self.gap:
                way_out = step.label(step.add(end, self.gap + 1))
                raise ValueError(
                    f"split leaks: {before} ends {step.label(end)} and {after} begins "
                    f"{step.label(start)}, which leaves {max(free, 0)} frames between them; "
                    f"gap={self.gap} and no frame may be shared, so {after} would be scored on "
                    f"what was learned; let {after} begin {way_out} or later"
                )
