from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.metrics.calibration import Calibration
from pipeline.metrics.intervals import ConformityHistogram, Coverage
from stores.array_types import AnyArray

Array = AnyArray


def make_intervals(seed: int = 0) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    lower, truth = rng.normal(size=(2, 3, 11, 13))
    upper = lower + rng.exponential(size=truth.shape)
    return lower.astype(np.float32), upper.astype(np.float32), truth.astype(np.float32)


def in_a_row(*values: float) -> Array:
    return np.array(values).reshape(1, 1, -1)


def test_the_margin_of_nine_errors_at_level_eight_tenths_is_the_eighth() -> None:
    forecast = in_a_row(*[0.0] * 9)
    truth = in_a_row(0.125, -0.25, 0.5, -0.75, 1.0, 1.25, -1.5, 2.0, 9.0)
    scores = ConformityHistogram.of(forecast, forecast, truth)
    assert scores.n.tolist() == [9]
    assert scores.margins(0.8).tolist() == [2.0]  # ceil(10 * 0.8) = 8
    assert scores.margins(0.9).tolist() == [9.0]
    assert scores.margins(0.5).tolist() == [1.0]


def test_an_interval_that_is_too_wide_gets_a_negative_margin() -> None:
    truth = in_a_row(-0.5, 0.0, 0.25, 1.0)  # inside -2 to 2 by 1.5, 2, 1.75 and 1
    scores = ConformityHistogram.of(truth * 0 - 2, truth * 0 + 2, truth)
    assert scores.margins(0.8).tolist() == [-1.0]
    assert scores.margins(0.2).tolist() == [-2.0]


@pytest.mark.parametrize(
    ("error", "margin"),
    [
        (0.0, 0.0),
        (1 / 256, 1 / 256),  # an edge belongs to the bin below it
        (np.nextafter(1 / 256, 1), 2 / 256),
        (np.nextafter(1 / 256, 0), 1 / 256),
        (1e-30, 1 / 256),
        (16.0, 16.0),
        (np.float32(0.3), 77 / 256),
    ],
)
def test_margins_are_rounded_up_to_the_edge_of_a_bin(error: float, margin: float) -> None:
    scores = ConformityHistogram.of(in_a_row(0.0), in_a_row(0.0), in_a_row(error))
    assert scores.margins(0.5).tolist() == [margin]


def test_scores_far_inside_count_in_the_lowest_bin() -> None:
    scores = ConformityHistogram.of(in_a_row(-50.0), in_a_row(50.0), in_a_row(0.0))
    assert scores.margins(0.5).tolist() == [-16.0]


def test_margins_hold_the_rank_within_one_bin_of_the_exact_quantile() -> None:
    lower, upper, truth = make_intervals(3)
    margins = ConformityHistogram.of(lower, upper, truth).margins(0.9)
    exact = np.maximum(lower.astype(float) - truth, truth.astype(float) - upper)
    rank = int(np.ceil((143 + 1) * 0.9))
    wanted = np.sort(exact.reshape(3, -1), axis=1)[:, rank - 1]
    assert (margins >= wanted).all()
    assert (margins - wanted < 1 / 256).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_scores_and_coverage_of_pieces_in_any_order_equal_those_of_the_whole(seed: int) -> None:
    parts = [*make_intervals(seed)]
    rng = np.random.default_rng(seed)
    parts.append(rng.random(parts[0].shape) > 0.3)
    cuts = np.sort(rng.integers(0, 12, 3))
    pieces = list(zip(*(np.split(values, cuts, axis=1) for values in parts), strict=True))
    assert len(pieces) == 4
    rng.shuffle(pieces)
    merged = reduce(
        add, (ConformityHistogram.of(*piece) for piece in pieces), ConformityHistogram.zero(3)
    )
    np.testing.assert_array_equal(merged.counts, ConformityHistogram.of(*parts).counts)
    assert merged.n.sum() > 0
    covered = reduce(add, (Coverage.of(*piece) for piece in pieces), Coverage.zero(3))
    whole = Coverage.of(*parts)
    np.testing.assert_array_equal(covered.n, whole.n)
    np.testing.assert_array_equal(covered.inside, whole.inside)
    np.testing.assert_allclose(covered.mean_width, whole.mean_width, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    levels=st.lists(st.floats(0.01, 0.99), min_size=2, max_size=5).map(sorted),
)
def test_margins_never_fall_when_the_level_rises(seed: int, levels: list[float]) -> None:
    scores = ConformityHistogram.of(*make_intervals(seed))
    margins = np.array([scores.margins(level) for level in levels])
    assert (np.diff(margins, axis=0) >= 0).all()


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("n", [19, 97])
def test_new_truths_lie_inside_as_often_as_promised(level: float, n: int) -> None:
    rng = np.random.default_rng(5)
    trials = 1000
    errors = rng.standard_t(4, size=(trials, 1, n + 1))  # heavy tails; each trial is a lead
    lower = np.full_like(errors, -0.4)
    upper = np.full_like(errors, 0.7)
    known = ConformityHistogram.of(lower[..., :n], upper[..., :n], errors[..., :n])
    margins = known.margins(level)[:, None, None]
    covered = Coverage.of(lower[..., n:] - margins, upper[..., n:] + margins, errors[..., n:])
    assert covered.n.sum() == trials
    inside = int(covered.inside.sum())
    lowest, _ = stats.binom.interval(0.9999, trials, level)
    _, highest = stats.binom.interval(0.9999, trials, min(level + 1 / (n + 1) + 1 / 256, 1))
    assert lowest <= inside <= highest


def test_ranks_are_exact_where_floats_are_not() -> None:
    assert 0.55 * 100 > 55
    truth = in_a_row(*(k / 256 for k in range(1, 100)))
    assert ConformityHistogram.of(truth * 0, truth * 0, truth).margins(0.55).tolist() == [
        55 / 256
    ]


def test_too_few_truths_are_refused_by_lead() -> None:
    lower, upper, truth = make_intervals()
    truth[1, 0, 8:] = np.nan
    truth[1, 1:] = np.nan
    scores = ConformityHistogram.of(lower, upper, truth)
    assert scores.n.tolist() == [143, 8, 143]
    assert np.isfinite(scores.margins(0.8)).all()
    with pytest.raises(ValueError, match=r"only 8 truths were scored at lead 2,.* at least 9,"):
        scores.margins(0.9)
    with pytest.raises(ValueError, match="only 0 truths were scored at leads 1-3"):
        ConformityHistogram.zero(3).margins(0.5)


def test_a_margin_in_the_open_bin_is_refused() -> None:
    truth = in_a_row(*[16.01] * 9)
    scores = ConformityHistogram.of(truth * 0, truth * 0, truth)
    with pytest.raises(
        ValueError, match="at lead 1 too many truths are missed by more than 16"
    ):
        scores.margins(0.5)


@pytest.mark.parametrize("level", [0.0, 1.0, 90.0, float("nan")])
def test_a_level_that_is_no_share_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="is no share of truths"):
        ConformityHistogram.of(*make_intervals()).margins(level)


def test_coverage_counts_both_ends_and_measures_the_width() -> None:
    lower = in_a_row(0, 0, 0, 0, np.nan)
    upper = in_a_row(1, 2, 3, 4, 5)
    covered = Coverage.of(lower, upper, in_a_row(0, 2, 3.5, -1, 1))
    assert covered.n.tolist() == [4]
    assert covered.inside.tolist() == [2]
    assert covered.fraction.tolist() == [0.5]
    assert covered.mean_width.tolist() == [2.5]


def test_what_is_not_valid_never_counts() -> None:
    lower, upper, truth = make_intervals()
    valid = np.ones(truth.shape[1:], dtype=bool)
    valid[3] = False
    before = [kind.of(lower, upper, truth, valid) for kind in (ConformityHistogram, Coverage)]
    lower[:, 3], upper[:, 3], truth[:, 3] = np.inf, np.inf, -1e30
    scores, covered = (
        ConformityHistogram.of(lower, upper, truth, valid),
        Coverage.of(lower, upper, truth, valid),
    )
    assert isinstance(before[0], ConformityHistogram)
    assert isinstance(before[1], Coverage)
    np.testing.assert_array_equal(scores.counts, before[0].counts)
    assert scores.n.tolist() == covered.n.tolist() == [130, 130, 130]
    np.testing.assert_array_equal(covered.total_width, before[1].total_width)


def test_a_lead_without_a_truth_has_no_coverage_and_raises_no_warning() -> None:
    lower, upper, truth = make_intervals()
    truth[1] = np.nan
    covered = Coverage.of(lower, upper, truth)
    assert np.isnan(covered.fraction).tolist() == [False, True, False]
    assert np.isnan(covered.mean_width).tolist() == [False, True, False]


def test_shapes_that_differ_and_valid_gaps_are_refused() -> None:
    lower, upper, truth = make_intervals()
    with pytest.raises(ValueError, match=r"upper \(2, 11, 13\), truth \(3, 11, 13\)"):
        ConformityHistogram.of(lower, upper[:2], truth)
    upper[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 429 values that valid marks as usable"):
        Coverage.of(lower, upper, truth, np.ones((11, 13), dtype=bool))


def make_calibration(seed: int = 0, level: float = 0.9) -> Calibration:
    scores = ConformityHistogram.of(*make_intervals(seed))
    return Calibration.of(scores, level, part="val", inits=["2010-01", "2010-02"])


def test_a_calibration_is_read_as_it_was_written() -> None:
    calibration = make_calibration()
    assert calibration.n == (143, 143, 143)
    again = Calibration.from_json(calibration.to_json())
    assert again == calibration
    assert again.digest == calibration.digest
    assert len(calibration.digest) == 64


def test_other_margins_or_inits_have_another_digest() -> None:
    calibration = make_calibration()
    written = calibration.to_json()
    others = [
        make_calibration(1),
        make_calibration(level=0.8),
        Calibration.from_json(written | {"inits": ["2010-01"]}),
        Calibration.from_json(written | {"part": "test"}),
    ]
    assert len({calibration.digest, *(other.digest for other in others)}) == 5


def test_a_calibration_with_a_margin_missing_is_refused() -> None:
    written = make_calibration().to_json()
    with pytest.raises(ValueError, match="has 2 margins but counts of 3 leads"):
        Calibration.from_json(written | {"margins": written["margins"][:2]})
