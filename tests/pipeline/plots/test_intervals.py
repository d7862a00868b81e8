import numpy as np
import pytest

from pipeline.metrics.intervals import Coverage
from pipeline.plots.intervals import plot_intervals
from pipeline.plots.style import lead_axis, to_png


def make_coverage(*fractions: float, width: float = 3.0) -> Coverage:
    n = np.full(len(fractions), 1000)
    inside = (1000 * np.array(fractions)).round().astype(np.int64)
    return Coverage(n, inside, width * n)


def test_intervals_show_the_share_inside_against_the_promise_and_the_width() -> None:
    coverages = {"model": make_coverage(0.91, 0.84, 0.7), "ensemble": make_coverage(0.9, 0.9)}
    figure = plot_intervals(coverages, level=0.9, units="mm month-1", step="month")
    to_png(figure)
    shares, widths = figure.axes
    lines = {str(line.get_label()): np.asarray(line.get_ydata()) for line in shares.lines}
    np.testing.assert_allclose(lines["model"], [0.91, 0.84, 0.7])
    np.testing.assert_allclose(lines["ensemble"], [0.9, 0.9])
    assert [0.9, 0.9] in [list(np.asarray(line.get_ydata())) for line in shares.lines[2:]]
    assert np.asarray(widths.lines[0].get_ydata()).tolist() == [3.0, 3.0, 3.0]
    assert np.asarray(widths.lines[0].get_xdata()).tolist() == [1, 2, 3]
    assert shares.get_title(loc="left") == "Coverage: 90% is promised"
    assert widths.get_ylabel() == "mean width [mm month⁻¹]"
    assert shares.get_xlabel() == widths.get_xlabel() == "lead [months]"
    low, high = shares.get_ylim()
    assert low < 0.7
    assert 0.91 < high <= 1
    assert widths.get_ylim()[0] == 0


def test_a_share_axis_stays_within_zero_and_one() -> None:
    figure = plot_intervals({"model": make_coverage(1.0, 0.0)}, level=0.995, units="1")
    to_png(figure)
    assert figure.axes[0].get_ylim() == (0, 1)
    assert figure.axes[1].get_ylabel() == "mean width"
    assert figure.axes[0].get_title(loc="left") == "Coverage: 99.5% is promised"


def test_intervals_without_a_truth_say_so() -> None:
    figure = plot_intervals({"model": Coverage.zero(3)}, level=0.9, units="K")
    to_png(figure)
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["no truth was counted"]


def test_intervals_of_no_method_are_refused() -> None:
    with pytest.raises(ValueError, match="no coverage is given"):
        plot_intervals({}, level=0.9, units="K")


@pytest.mark.parametrize(
    ("step", "name"), [("month", "lead [months]"), ("5 years", "lead [steps of 5 years]")]
)
def test_leads_are_counted_in_steps(step: str, name: str) -> None:
    assert lead_axis(step) == name
