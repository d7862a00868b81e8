import math

import pytest

from pipeline.training.schedule import Curriculum, PlateauScheduler, lr_factor


def rate(step: int, kind: str = "cosine") -> float:
    return lr_factor(step, kind=kind, warmup_steps=10, total_steps=110)


def make_curriculum(**changes: object) -> Curriculum:
    given = {"epochs": 11, "leads": 5, "leads_start": 2, "leads_every": 3} | changes
    return Curriculum(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["cosine", "plateau", "constant"])
def test_the_rate_rises_to_its_largest_in_the_warm_up(kind: str) -> None:
    assert rate(0, kind) == pytest.approx(0.1)
    assert rate(9, kind) == pytest.approx(1.0)


def test_the_cosine_falls_to_half_in_the_middle_and_to_zero_at_the_end() -> None:
    assert rate(60) == pytest.approx(0.5)
    assert rate(110) == pytest.approx(0.0)
    assert rate(500) == pytest.approx(0.0)


def test_a_constant_rate_stays_after_the_warm_up() -> None:
    assert rate(100, "constant") == 1.0


def test_a_plateau_halves_the_rate_after_five_epochs_in_vain() -> None:
    plateau = PlateauScheduler()
    for score in (1.0, 0.5, *[0.5] * 5):
        plateau.step(score)
    assert plateau.factor == 1.0
    plateau.step(0.49999)  # lower, but by too little
    assert plateau.factor == 0.5


def test_a_plateau_that_falls_keeps_its_rate() -> None:
    plateau = PlateauScheduler()
    for epoch in range(20):
        plateau.step(math.exp(-epoch))
    assert plateau == PlateauScheduler(best=math.exp(-19))


def test_leads_grow_every_few_epochs_up_to_the_last() -> None:
    curriculum = make_curriculum()
    found = [curriculum.leads_at(epoch) for epoch in range(11)]
    assert found == [2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5]
    assert curriculum.leads_at(50) == 5


@pytest.mark.parametrize("decay", ["linear", "inverse-sigmoid"])
def test_the_probability_of_truth_falls_from_the_first_to_the_last_epoch(decay: str) -> None:
    curriculum = make_curriculum(teacher=(0.9, 0.1), teacher_decay=decay)
    found = [curriculum.teacher_probability_at(epoch) for epoch in range(11)]
    assert found[0] == pytest.approx(0.9)
    assert found[5] == pytest.approx(0.5)
    assert found[10] == curriculum.teacher_probability_at(99) == pytest.approx(0.1)
    assert found == sorted(found, reverse=True)


def test_the_inverse_sigmoid_is_slow_at_both_ends_and_fast_in_between() -> None:
    steep = make_curriculum(teacher=(1.0, 0.0), teacher_decay="inverse-sigmoid")
    straight = make_curriculum(teacher=(1.0, 0.0))
    assert steep.teacher_probability_at(2) > straight.teacher_probability_at(2) + 0.1
    assert steep.teacher_probability_at(8) < straight.teacher_probability_at(8) - 0.1


def test_a_single_epoch_begins_with_its_first_probability() -> None:
    assert make_curriculum(epochs=1, teacher=(0.7, 0.0)).teacher_probability_at(0) == 0.7
