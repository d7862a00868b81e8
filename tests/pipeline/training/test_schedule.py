import pytest

from pipeline.training.schedule import rate_at


def rate(step: int, kind: str = "cosine") -> float:
    return rate_at(step, kind=kind, warmup_steps=10, total_steps=110)


def test_the_rate_rises_to_its_largest_in_the_warm_up() -> None:
    assert rate(0) == pytest.approx(0.1)
    assert rate(9) == pytest.approx(1.0)


def test_the_cosine_falls_to_half_in_the_middle_and_to_zero_at_the_end() -> None:
    assert rate(60) == pytest.approx(0.5)
    assert rate(110) == pytest.approx(0.0)
    assert rate(500) == pytest.approx(0.0)


def test_a_constant_rate_stays_after_the_warm_up() -> None:
    assert rate(100, "constant") == 1.0
