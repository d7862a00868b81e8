"""When a server runs the flows of a recipe, and how it calls what runs them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Annotated
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from pipeline.recipes.base import RecipePart, ShortText
from stores.times import Step

FLOWS = ("ingest", "train", "forecast", "evaluate")
BY_HAND = "by-hand"
"""Cadence of what no schedule starts."""
AUTO = "auto"
_FIELDS = 5  # cronsim takes a sixth, seconds, which servers do not

_USUAL = {
    "minutes": {
        "ingest": "*/{n} * * * *",
        "train": "0 4 * * 1",
        "forecast": "{half}-59/{n} * * * *",
        "evaluate": "0 9 * * 1",
    },
    "hours": {
        "ingest": "5 */{n} * * *",
        "train": "0 4 * * 1",
        "forecast": "20 */{n} * * *",
        "evaluate": "0 9 * * 1",
    },
    "days": {  # and weeks, since nobody knows the weekday on which one arrives
        "ingest": "0 2 * * *",
        "train": "0 4 2 * *",
        "forecast": "0 6 * * *",
        "evaluate": "0 9 5 * *",
    },
    "month": {
        "ingest": "0 2 * * *",  # every night, since nobody knows when a month arrives
        "train": "0 4 2 1,4,7,10 *",
        "forecast": "0 6 5 * *",
        "evaluate": "0 9 5 * *",
    },
    "months": {
        "ingest": "0 2 * * *",
        "train": "0 4 2 1 *",
        "forecast": "0 6 5 */{n} *",
        "evaluate": "0 9 5 */{n} *",
    },
    "years": {  # each behind the one before, once the year that ended has had a month to arrive
        "ingest": "0 2 1 2 *",
        "train": "0 4 2 2 *",
        "forecast": "0 6 5 2 *",
        "evaluate": "0 9 5 2 *",
    },
}
"""Cron lines by what the frames of an archive are steps of; docs/operations.md shows them."""

_NAMED_DAYS = {1: "daily", 7: "weekly", 30: "monthly", 91: "quarterly", 183: "half-yearly"} | {
    365: "yearly"
}
_LAST_HOUR_OF_NIGHT = 5
_N_SAMPLED_RUNS = 13
_YEAR = 12  # months
_MONDAY = datetime(2001, 1, 1)


class ScheduleRecipe(RecipePart):
    """When a server runs the flows; it changes nothing of a run that is started by hand."""

    timezone: ShortText = "UTC"
    """Time zone of the cron lines, by its IANA name."""
    ingest: ShortText | None = AUTO
    """When new frames are read, as a cron line: minute, hour, day of month, month, day of week.
    `auto` follows `archive.step`, null leaves it to be started by hand."""
    train: ShortText | None = AUTO
    """When a new model is trained, written as `ingest`."""
    forecast: ShortText | None = AUTO
    """When the newest init is forecast, written as `ingest`; behind it, so that it is there."""
    evaluate: ShortText | None = AUTO
    """When the current model is scored, written as `ingest`."""
    max_delay_hours: float | None = Field(None, gt=0, le=1e6)
    """A run that could not start for so long is left out; null starts it however late. Of
    several runs that wait, only the newest starts [h]."""
    overrides: tuple[Annotated[str, Field(max_length=1000)], ...] = Field((), max_length=100)
    """What runs on a server change of the recipe, as `--set` does: a split that moves on."""
    notify: ShortText | None = None
    """Notification block of the server that is told when a run fails or crashes, as
    `slack-webhook/NAME`; its address stays on the server."""

    @field_validator("timezone")
    @classmethod
    def _timezone_is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, LookupError):
            raise ValueError(
                f"timezone={name!r} is no IANA time zone, so nobody knows when runs are due; "
                "write one such as 'Asia/Jakarta', 'Europe/Berlin' or 'UTC'"
            ) from None
        return name

    @field_validator(*FLOWS)
    @classmethod
    def _cron_has_a_next_run(cls, cron: str | None) -> str | None:
        if cron in (None, AUTO):
            return cron
        try:
            if len(cron.split()) != _FIELDS:
                raise CronSimError(f"{len(cron.split())} fields, not {_FIELDS}")
            next(CronSim(cron, _MONDAY))
        except (CronSimError, StopIteration) as error:
            raise ValueError(
                f"cron={cron!r} names no time ({error}), so nothing would start; "
                "write minute, hour, day of month, month and day of week, such as "
                "'0 6 5 * *' for the 5th of every month at 6"
            ) from None
        return cron

    @field_validator("notify")
    @classmethod
    def _notify_names_a_block(cls, block: str | None) -> str | None:
        if block is not None and (block.count("/") != 1 or not all(block.split("/"))):
            raise ValueError(
                f"notify={block!r} is no TYPE/NAME of a block on the server, so nobody would "
                "be told; write one such as 'slack-webhook/ops'"
            )
        return block

    def cron_by_flow(self, step: Step) -> dict[str, str | None]:
        """Return the cron line of every flow; None where only a person starts it."""
        usual = default_crons(step)
        written = {flow: getattr(self, flow) for flow in FLOWS}
        return {flow: usual[flow] if cron == AUTO else cron for flow, cron in written.items()}


def default_crons(step: Step) -> Mapping[str, str]:
    """Choose when the flows run for an archive with a frame every ``step``."""
    kind, n = _kind_of(step)
    return {flow: cron.format(n=n, half=n // 2) for flow, cron in _USUAL[kind].items()}


def _kind_of(step: Step) -> tuple[str, int]:
    """Find the row of a step, and how many minutes, hours or months are between two runs."""
    if step.numpy_unit == "Y" or (step.numpy_unit == "M" and step.count >= _YEAR):
        return "years", 1
    if step.numpy_unit == "M":
        return ("month", 1) if step.count == 1 else ("months", _divisor(_YEAR, step.count))
    if step.numpy_unit == "D":
        return "days", 1
    minutes = step.count * {"s": 1 / 60, "m": 1, "h": 60}[step.numpy_unit]
    if minutes < 60:
        return "minutes", _divisor(60, minutes)
    return "hours", _divisor(24, minutes / 60)


def _divisor(whole: int, most: float) -> int:
    """Find the largest part of an hour, day or year that is no longer than a step."""
    return max(n for n in range(1, whole) if whole % n == 0 and (n <= most or n == 1))


def name_cadence(cron: str | None) -> str:
    """Name how often a cron line comes: ``nightly``, ``monthly``, ``every-6-hours``."""
    if cron is None:
        return BY_HAND
    runs = list(islice(CronSim(cron, _MONDAY), _N_SAMPLED_RUNS))
    hours = (runs[-1] - runs[0]).total_seconds() / 3600 / (len(runs) - 1)
    if hours < 1:
        return f"every-{_pluralize(60 * hours, 'minute')}"
    if hours < 24:
        return "hourly" if round(hours) == 1 else f"every-{_pluralize(hours, 'hour')}"
    days = round(hours / 24)
    if days == 1 and all(run.hour <= _LAST_HOUR_OF_NIGHT for run in runs):
        return "nightly"
    near = [name for known, name in _NAMED_DAYS.items() if abs(days - known) <= known / 20]
    return near[0] if near else f"every-{_pluralize(days, 'day')}"


def _pluralize(number: float, unit: str) -> str:
    count = max(1, round(number))
    return f"{count}-{unit}{'s' * (count > 1)}"
