"""Which forecasts can be made from the dates that each variable has, and from which not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.metrics.intervals import TooFewError
from pipeline.split import Split
from pipeline.streams.forcing_policy import ForcingDates, resolve_forcing
from pipeline.streams.input_stack import ForcingSpec, InputStack
from pipeline.streams.samples import RolloutSpan, list_inits
from stores.formatting import pluralize
from stores.times import HELD, LATEST, YEARLY, Step, Time, Times, is_held


@dataclass(frozen=True, eq=False, slots=True)
class ForcingSupply:
    """Which dates one covariate has, and which of them one rollout reads."""

    name: str
    forcing: ForcingSpec
    available: Times
    """Dates that it has (t,)."""
    step: Step
    """Between two of them."""
    known: ForcingDates
    n_requested: int
    """Dates that the rollout reads."""

    def __str__(self) -> str:
        """Describe what is known, and what stands for the rest."""
        if not len(self.known.times):
            return f"not known yet, {self._fallback_text} stands{self._late}"
        known = f"known to {self.step.format(self.known.times[-1])}"
        if self.forcing.future == "known":
            return known
        then = "that frame" if self.forcing.future == "persist" else self._fallback_text
        return f"{known}, then {then}{self._late}"

    @property
    def extent_text(self) -> str:
        """Its name, with its first and last date."""
        first, last = (self.step.format(time) for time in self.available[[0, -1]])
        return f"{self.name} ({first} to {last})"

    @property
    def late_text(self) -> str:
        """What stands for the frames that came later than its delay; empty if none."""
        if not self.known.n_late:
            return ""
        return (
            f"{self.name}: {self.known.n_late} of {self.n_requested} frames came late "
            f"(it ends {self.step.format(self.available[-1])}); "
            f"{self._fallback_text} stands for them"
        )

    @property
    def missing_text(self) -> str:
        """Which frame is missing, and so what; empty if none is."""
        if not self.known.missing.size:
            return ""
        first, last = (self.step.format(time) for time in self.known.missing[[0, -1]])
        if self.known.missing[-1] > self.available[-1]:
            return (
                f"covariate {self.name!r} has future='known' but ends "
                f"{self.step.format(self.available[-1])}, before {last}, so it cannot be known"
            )
        return f"covariate {self.extent_text} has no frame of {first}, so it cannot be read"

    @property
    def _fallback_text(self) -> str:
        if self.forcing.future == "climatology":
            return "its season's mean"
        return f"its frame of {self.step.format(self.known.times[-1])}"

    @property
    def _late(self) -> str:
        n = self.known.n_late
        return f"; {n} of {self.n_requested} frames came late" if n else ""


@dataclass(frozen=True, slots=True)
class AvailableInits:
    """Inits of a part from which a forecast can be made, and what covariates cost it."""

    inits: list[Time]
    notes: tuple[str, ...] = ()
    """Which covariates left inits out, and which came late."""


@dataclass(frozen=True)
class Availability:
    """The channels of a model, and the dates that there are of each variable."""

    stack: InputStack
    dates: Mapping[str, Times]
    """Of each variable, in order [s]; years are their first days."""
    step: Step

    @property
    def target(self) -> Times:
        """Dates of the target (t,): they decide inits, history and truth."""
        return self.dates_of(self.stack.target.variable)

    def dates_of(self, name: str) -> Times:
        """Look up the dates of a variable (t,).

        Raises:
            ValueError: there is no such variable.
        """
        if name not in self.dates:
            raise ValueError(
                f"the cube has no variable {name!r}, which the model reads; it has "
                f"{', '.join(self.dates)}; ingest it"
            )
        return self.dates[name]

    def forcing_supplies(self, span: RolloutSpan, init: Time) -> list[ForcingSupply]:
        """List what a rollout from ``init`` reads of every covariate of the cube."""
        times = span.forcing_times(self.step, init)
        supplies = []
        for forcing in self.stack.forcings:
            if forcing.series is not None:
                name = forcing.series.variable
                available = self.dates_of(name)
                forcing_step = YEARLY if forcing.kind == "annual" else self.step
                dates = resolve_forcing(forcing, available, self.step, times, init)
                supplies.append(
                    ForcingSupply(name, forcing, available, forcing_step, dates, len(times))
                )
        return supplies

    def check(self, span: RolloutSpan, init: Time) -> None:
        """Refuse a forecast that would read a frame which is not there, or write one too late.

        Raises:
            ValueError: a frame is missing, or the last lead lies beyond the dates of the
                library.
        """
        self._check_dates(span, init)
        self._check_history(span, init)
        missing = [
            supply.missing_text
            for supply in self.forcing_supplies(span, init)
            if supply.missing_text
        ]
        if missing:
            raise ValueError(
                f"a forecast of {pluralize(span.leads, 'lead')} from "
                f"{self.step.format(init)} is not possible: {'; '.join(missing)}; "
                f"supply the files{self._nearest(span, init)}, "
                "or train with another 'future'"
            )

    def plan_part(self, split: Split, part: str, span: RolloutSpan) -> AvailableInits:
        """List the inits of a part: history, leads and covariates are there.

        Raises:
            TooFewError: there is none.
        """
        available = self.plan_inits(split.segments(part, self.step), span)
        if not available.inits:
            dates = ", ".join([self._target_text, *available.notes])
            raise TooFewError(
                f"split.{part} has no {span.history + span.last_lead} frames in a row in the "
                f"cube ({dates}), so there is no sample in "
                f"{split.format_part(part, self.step)}; ingest more or change the split"
            )
        return available

    def plan_inits(self, segments: Iterable[Times], span: RolloutSpan) -> AvailableInits:
        """List the inits in some segments, with what covariates cost them."""
        inits: list[Time] = []
        missing = Counter[str]()
        late = Counter[str]()
        for init in list_inits(segments, self.target, span):
            supplies = self.forcing_supplies(span, init)
            lacks = [supply.extent_text for supply in supplies if supply.known.missing.size]
            missing.update(lacks)
            if not lacks:
                inits.append(init)
                late.update(supply.extent_text for supply in supplies if supply.known.n_late)
        return AvailableInits(
            inits,
            (
                *(
                    f"{pluralize(n, 'init')} left out for want of {name}"
                    for name, n in missing.items()
                ),
                *(f"{name} late in {n} of {len(inits)} inits" for name, n in late.items()),
            ),
        )

    @property
    def _target_text(self) -> str:
        name = self.stack.target.variable
        first, last = (self.step.format(time) for time in self.target[[0, -1]])
        return f"which holds {name} from {first} to {last}"

    def _check_dates(self, span: RolloutSpan, init: Time) -> None:
        end = self.step.add(init, span.last_lead + 1)
        if not is_held(end):
            n = self.step.units_between(init, LATEST) // self.step.count - span.first_lead
            raise ValueError(
                f"leads={span.leads} from {self.step.format(init)} end "
                f"{self.step.format(end)}, beyond {HELD}, the dates that pandas and others "
                f"who count nanoseconds can hold, so few could read the forecast; "
                f"ask for {max(n, 0)} leads or fewer"
            )

    def _check_history(self, span: RolloutSpan, init: Time) -> None:
        format_time = self.step.format
        first = self.target[0]
        name = self.stack.target.variable
        if init not in self.target:
            raise ValueError(
                f"init={format_time(init)} is not in the cube, {self._target_text}, so "
                "nothing is known of it; choose a frame of the target, or ingest the "
                "missing ones"
            )
        first_needed = span.history_times(self.step, init)[0]
        if first_needed < first:
            earliest = self.step.add(first, span.history - 1)
            raise ValueError(
                f"init={format_time(init)} has not enough history: the model reads "
                f"{pluralize(span.history, 'frame')} from {format_time(first_needed)} on, "
                f"but {name} begins {format_time(first)}; choose an init from "
                f"{format_time(earliest)} on, or ingest earlier frames"
            )

    def _nearest(self, span: RolloutSpan, init: Time) -> str:
        """Return the words for the nearest init from which a forecast can be made, if any."""
        candidates = self.target[span.history - 1 :]
        for time in candidates[np.argsort(np.abs(candidates - init), kind="stable")]:
            if not any(supply.missing_text for supply in self.forcing_supplies(span, time)):
                return f", start from {self.step.format(time)}"
        return ""
