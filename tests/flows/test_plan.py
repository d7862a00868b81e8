import re
from pathlib import Path

import pytest

from flows.plan import parse_shape, plan
from tests.make import make_recipe


def test_candidate_plans_are_shown_with_their_costs_and_one_is_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(str(make_recipe(tmp_path)), [], None, None)
    said = capsys.readouterr().out
    for stage in ("train, state", "train, bundle", "forecast"):
        assert re.search(rf"disk, {stage}: at most \S+ \w+; the disk at .* left of", said)
    for word in ("23 x 31 px", "redundant", "reads", "memory", "tasks", "chosen"):
        assert word in said
    assert not (tmp_path / "run").exists()


def test_a_country_is_planned_without_being_cut_into_tiles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(str(make_recipe(tmp_path)), [], None, (17111, 40000))
    assert "17111 x 40000 px" in capsys.readouterr().out


def test_a_plan_over_the_memory_is_refused_with_the_smallest_change(tmp_path: Path) -> None:
    recipe = str(make_recipe(tmp_path))
    with pytest.raises(
        ValueError, match=r"before it has done anything.*set compute\.memory_gb=0\.\d"
    ):
        plan(recipe, ["compute.workers=1", "compute.memory_gb=0.00001"], None, None)


def test_a_shape_is_a_height_and_a_width() -> None:
    assert parse_shape("17111x40000") == (17111, 40000)
    with pytest.raises(ValueError, match=r"write e\.g\. 17111x40000"):
        parse_shape("17111")
    for text in ("\u00b2x1", "1x200001", "0x1", "99999999999x1", "1x-1"):
        with pytest.raises(ValueError, match=r"height and a width of 1 to 200000 px"):
            parse_shape(text)
