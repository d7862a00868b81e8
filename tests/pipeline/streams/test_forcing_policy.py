import numpy as np
import pytest

from pipeline.streams.forcing_policy import resolve_forcing
from pipeline.streams.input_stack import ForcingSpec, VariableSpec
from stores.times import Step, Times, to_times

MONTH, DAYS = Step.parse("month"), Step.parse("5 days")
SERIES = VariableSpec("ndvi")


def months(first: str, last: str) -> Times:
    return MONTH.range(np.datetime64(first), np.datetime64(last))


@pytest.mark.parametrize(
    ("future", "delay", "ends", "read", "n_late"),
    [
        ("known", 0, "2005-08", "04 05 06 07 08", 0),
        ("known", 3, "2005-12", "04 05 06 07 08", 0),
        ("climatology", 0, "2005-12", "04 05 06", 0),
        ("climatology", 1, "2005-12", "04 05", 0),
        ("climatology", 1, "2005-05", "04 05", 0),
        ("climatology", 1, "2005-04", "04", 1),
        ("climatology", 0, "2004-12", "", 3),
        ("climatology", 9, "2005-12", "", 0),
        ("persist", 0, "2005-12", "04 05 06 06 06", 0),
        ("persist", 1, "2005-05", "04 05 05 05 05", 0),
        ("persist", 1, "2005-04", "04 04 04 04 04", 1),
        ("persist", 2, "2005-12", "04 04 04 04 04", 0),
    ],
)
def test_policy_delay_and_last_date_decide_what_is_read(
    future: str, delay: int, ends: str, read: str, n_late: int
) -> None:
    forcing = ForcingSpec("step", SERIES, future, delay)
    wanted, init = months("2005-04", "2005-08"), np.datetime64("2005-06-01", "s")
    known = resolve_forcing(forcing, months("2000-01", ends), MONTH, wanted, init)
    assert [str(time)[5:7] for time in known.times] == read.split()
    assert not known.missing.size
    assert known.n_late == n_late


@pytest.mark.parametrize(
    ("future", "begins", "ends", "missing"),
    [
        ("known", "2000-01", "2005-06", "07 08"),
        ("known", "2005-05", "2005-12", "04"),
        ("climatology", "2005-05", "2005-12", "04"),
        ("persist", "2005-06", "2005-12", "04 05"),
    ],
)
def test_what_a_policy_reads_and_nobody_has_is_missing(
    future: str, begins: str, ends: str, missing: str
) -> None:
    wanted, init = months("2005-04", "2005-08"), np.datetime64("2005-06-01", "s")
    known = resolve_forcing(
        ForcingSpec("step", SERIES, future), months(begins, ends), MONTH, wanted, init
    )
    assert [str(time)[5:7] for time in known.missing] == missing.split()


def test_a_covariate_that_is_known_too_late_to_be_read_at_all_may_begin_whenever() -> None:
    forcing = ForcingSpec("step", SERIES, "climatology", delay=3)
    wanted, init = months("2005-04", "2005-08"), np.datetime64("2005-06-01", "s")
    known = resolve_forcing(forcing, months("2005-12", "2006-01"), MONTH, wanted, init)
    assert not len(known.times)
    assert not known.missing.size


@pytest.mark.parametrize(
    ("delay", "held", "read", "n_late"),
    [
        (0, "2003 2004 2005 2006", "2004 2004 2005 2005", 0),
        (1, "2003 2004 2005 2006", "2004 2004 2004 2004", 0),
        (0, "2003 2004", "2004 2004 2004 2004", 1),
        (0, "2000 2003", "2003 2003 2003 2003", 3),
        (0, "2003 2005", "2003 2003 2005 2005", 0),
    ],
)
def test_the_last_map_of_a_year_stands_until_the_next_is_known(
    delay: int, held: str, read: str, n_late: int
) -> None:
    forcing = ForcingSpec("annual", SERIES, "persist", delay)
    wanted = to_times(["2004-11", "2004-12", "2005-01", "2006-01"])
    init = np.datetime64("2005-01-01", "s")
    known = resolve_forcing(forcing, to_times(held.split()), MONTH, wanted, init)
    assert [str(time)[:4] for time in known.times] == read.split()
    assert known.n_late == n_late


def test_delays_are_counted_in_steps_of_any_length() -> None:
    held = DAYS.range(np.datetime64("2005-01-01"), np.datetime64("2005-03-02"))
    wanted, forcing = held[-4:], ForcingSpec("step", SERIES, "persist", delay=2)
    known = resolve_forcing(forcing, held, DAYS, wanted, held[-2])
    assert known.times.tolist() == held[[-4, -4, -4, -4]].tolist()
