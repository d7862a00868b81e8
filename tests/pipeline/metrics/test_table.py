import numpy as np
import pytest

from pipeline.metrics import ALL_LEADS, ErrorSums, score_table


def make_sums(errors: list[float]) -> ErrorSums:
    truth = np.array([[[0.0, 2.0, 4.0]]] * len(errors))
    shifts = np.array(errors)[:, None, None] * np.array([1.0, -1.0, 1.0])
    return ErrorSums.of(truth + shifts, truth)


def test_skill_is_the_share_of_the_references_squared_error_that_is_gone() -> None:
    sums = {"model": make_sums([1, 3]), "persistence": make_sums([2, 2])}
    table = score_table(sums, units="mm").set_index(["method", "lead"])
    skill = table["skill_persistence"]
    assert skill["model", 1] == pytest.approx(1 - 1 / 4)
    assert skill["model", 2] == pytest.approx(1 - 9 / 4)
    assert skill["model", ALL_LEADS] == pytest.approx(1 - 5 / 4)
    assert skill["persistence", 1] == 0


def test_the_table_has_a_row_for_each_method_and_lead_and_one_for_all_leads() -> None:
    sums = {"model": make_sums([1, 3]), "climatology": make_sums([2, 2])}
    table = score_table(sums, units="mm")
    assert table["method"].tolist() == ["model"] * 3 + ["climatology"] * 3
    assert table["lead"].tolist() == [1, 2, ALL_LEADS] * 2
    assert table["n"].tolist() == [3, 3, 6] * 2
    assert set(table["units"]) == {"mm"}
    assert "skill_climatology" in table
    assert "skill_persistence" not in table
    assert table["rmse"].tolist() == pytest.approx([1, 3, np.sqrt(5), 2, 2, 2])


def test_a_reference_without_error_gives_no_skill_and_no_warning() -> None:
    table = score_table({"model": make_sums([1]), "climatology": make_sums([0])}, units="1")
    assert table.loc[table["method"] == "model", "skill_climatology"].isna().all()


def test_methods_scored_on_other_pixels_are_refused() -> None:
    other = ErrorSums.of(np.zeros((1, 1, 2)), np.ones((1, 1, 2)))
    with pytest.raises(ValueError, match=r"persistence was scored on \[2\] pixels .* \[3\]"):
        score_table({"model": make_sums([1]), "persistence": other}, units="mm")
