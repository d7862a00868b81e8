from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.recipes import RecipeError
from pipeline.recipes.sweep import plan_sweep


def test_every_combination_comes_once_and_the_last_key_changes_fastest() -> None:
    planned = plan_sweep(["model.hidden=[8],[16, 16]", "training.lr=1e-3,3e-4"])
    assert [str(one) for one in planned] == [
        "model.hidden=[8] training.lr=1e-3",
        "model.hidden=[8] training.lr=3e-4",
        "model.hidden=[16, 16] training.lr=1e-3",
        "model.hidden=[16, 16] training.lr=3e-4",
    ]


def test_commas_in_brackets_and_quotes_part_nothing() -> None:
    (asked,) = ["training.loss={kind: huber, delta: 2},{kind: mae},'a, b',\"c]\""]
    values = [one.values[0][1] for one in plan_sweep([asked])]
    assert values == ["{kind: huber, delta: 2}", "{kind: mae}", "'a, b'", '"c]"']


@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=3), min_size=2, max_size=5))
def test_values_come_back_as_they_were_written(values: list[list[int]]) -> None:
    written = [str(value) for value in values]
    planned = plan_sweep([f"model.hidden={','.join(written)}"])
    assert [one.overrides for one in planned] == [[f"model.hidden={one}"] for one in written]


@pytest.mark.parametrize(
    ("asked", "overrides", "message"),
    [
        (["training.lr=1e-3"], [], "single combination"),
        ([], [], "single combination"),
        (["training.lr"], [], "not key=value,value"),
        (["training.lr="], [], "not key=value,value"),
        (["training.lr=1,,2"], [], "not key=value,value|not plain YAML"),
        (["=1,2"], [], "not key=value,value"),
        (["model.hidden=[8,[16]"], [], "not plain YAML|not key=value"),
        (["training.lr=1,2", "training.lr=3,4"], [], "value elsewhere too"),
        (["training.lr=1,2"], ["training.lr=3"], "value elsewhere too"),
        (["archive.root=a,b"], [], "another cube"),
        (["name=a,b"], [], "another cube or give other names"),
    ],
)
def test_what_cannot_be_swept_is_refused_with_a_way_out(
    asked: list[str], overrides: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        plan_sweep(asked, overrides)
