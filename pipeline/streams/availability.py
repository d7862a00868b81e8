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
    """What there is of one covariate, and what one rollout reads of it."""

    name: str
    forcing: ForcingSpec
    held: Times
    """Dates that it has."""
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
        first, last = (self.step.format(time) for time in self.held[[0, -1]])
        return f"{self.name} ({first} to {last})"

    @property
    def late_text(self) -> str:
        """What stands for the frames that came later than its delay; empty if none."""
        if not self.known.n_late:
            return ""
        return (
            f"{self.name}: {self.known.n_late} of {self.n_requested} frames came late (it ends "
            f"{self.step.format(self.held[-1])}); {self._fallback_text} stands for them"
        )

    @property
    def missing_text(self) -> str:
        """Which frame is wanted and not there, and so what; empty if all are there."""
        if not self.known.missing.size:
            return ""
        first, last = (self.step.format(time) for time in self.known.missing[[0, -1]])
        if self.known.missing[-1] > self.held[-1]:
            return (
                f"covariate {self.name!r} has future='known' but ends "
                f"{self.step.format(self.held[-1])}, before {last}, so it cannot be known"
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
        return self.held(self.stack.target.variable)

    def held(self, name: str) -> Times:
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
        found = []
        for forcing in self.stack.forcings:
            if forcing.series is not None:
                name = forcing.series.variable
                held = self.held(name)
                every = YEARLY if forcing.kind == "annual" else self.step
                known = resolve_forcing(forcing, held, self.step, times, init)
                found.append(ForcingSupply(name, forcing, held, every, known, len(times)))
        return found

    def check(self, span: RolloutSpan, init: Time) -> None:
        """Refuse a forecast that would read a frame which is not there, or write one too late.

        Raises:
            ValueError: names the variable, the dates it has, and a way out.
        """
        self._check_dates(span, init)
        self._check_history(span, init)
        lacks = [
            supply.missing_text
            for supply in self.forcing_supplies(span, init)
            if supply.missing_text
        ]
        if lacks:
            raise ValueError(
                f"a forecast of {pluralize(span.leads, 'lead')} from {self.step.format(init)} is not "
                f"possible: {'; '.join(lacks)}; supply the files{self._nearest(span, init)}, "
                "or train with another 'future'"
            )

    def plan_part(self, split: Split, part: str, span: RolloutSpan) -> AvailableInits:
        """List the inits of a part: history, leads and covariates are there.

        Raises:
            TooFewError: there is none; says what is there.
        """
        found = self.plan_inits(split.segments(part, self.step), span)
        if not found.inits:
            held = ", ".join([self._held, *found.notes])
            raise TooFewError(
                f"split.{part} has no {span.history + span.last_lead} frames in a row in the "
                f"cube ({held}), so there is no sample in "
                f"{split.format_part(part, self.step)}; ingest more or change the split"
            )
        return found

    def plan_inits(self, stretches: Iterable[Times], span: RolloutSpan) -> AvailableInits:
        """List the inits in some stretches, with what covariates cost them."""
        inits: list[Time] = []
        lacking = Counter[str]()
        late = Counter[str]()
        for init in list_inits(stretches, self.target, span):
            supplies = self.forcing_supplies(span, init)
            lacks = [supply.extent_text for supply in supplies if supply.known.missing.size]
            lacking.update(lacks)
            if not lacks:
                inits.append(init)
                late.update(supply.extent_text for supply in supplies if supply.known.n_late)
        return AvailableInits(
            inits,
            (
                *(
                    f"{pluralize(n, 'init')} left out for want of {name}"
                    for name, n in lacking.items()
                ),
                *(f"{name} late in {n} of {len(inits)} inits" for name, n in late.items()),
            ),
        )

    @property
    def _held(self) -> str:
        name = self.stack.target.variable
        show = self.step.format
        return f"which holds {name} from {show(self.target[0])} to {show(self.target[-1])}"

    def _check_dates(self, span: RolloutSpan, init: Time) -> None:
        end = self.step.add(init, span.last_lead + 1)
        if not is_held(end):
            n = self.step.units_between(init, LATEST) // self.step.count - span.first_lead
            raise ValueError(
                f"leads={span.leads} from {self.step.format(init)} end {self.step.format(end)}, "
                f"beyond {HELD}, the dates that pandas and others who count nanoseconds can "
                f"hold, so few could read the forecast; ask for {max(n, 0)} leads or fewer"
            )

    def _check_history(self, span: RolloutSpan, init: Time) -> None:
        show = self.step.format
        first = self.target[0]
        name = self.stack.target.variable
        if init not in self.target:
            raise ValueError(
                f"init={show(init)} is not in the cube, {self._held}, so nothing is known of "
                "it; choose a frame of the target, or ingest the missing ones"
            )
        needed = span.history_times(self.step, init)[0]
        if needed < first:
            earliest = self.step.add(first, span.history - 1)
            raise ValueError(
                f"init={show(init)} has not enough history: the model reads "
                f"{pluralize(span.history, 'frame')} from {show(needed)} on, but {name} "
                f"begins {show(first)}; choose an init from {show(earliest)} on, or ingest "
                "earlier frames"
            )

    def _nearest(self, span: RolloutSpan, init: Time) -> str:
        """Return the words for the nearest init from which a forecast can be made, if any."""
        reach = self.target[span.history - 1 :]
        for time in reach[np.argsort(np.abs(reach - init), kind="stable")]:
            if not any(supply.missing_text for supply in self.forcing_supplies(span, time)):
                return f", start from {self.step.format(time)}"
        return ""
