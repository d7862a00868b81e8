from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.notebook import open_product
from pipeline.recipes import RecipeError
from tests.make_flow import INIT, recipe_of

SERVERLESS = """
import sys
from flows.notebook import open_product
issue = open_product(sys.argv[1]).forecast(init=sys.argv[2])
assert dict(issue.open().sizes)["time"] > 0
assert not [name for name in sys.modules if name.startswith("prefect.server")]
"""


def test_a_notebook_goes_from_a_recipe_to_a_table_of_scores_and_an_open_issue(
    store: Path,
) -> None:
    given = {"rollout.leads": 2, "rollout.interval": None, "outputs.report": True}
    product = open_product(recipe_of(store), given)
    assert product.ingest()
    assert product.train().parent == product.recipe.root / "models"
    with pytest.raises(LookupError, match=r"never scored.*call evaluate\(\)"):
        product.scores()
    scores = product.evaluate()
    assert set(scores["method"]) >= {"model", "persistence", "climatology"}
    assert scores.equals(product.scores())
    issue = product.forecast(init=INIT)
    forecast = issue.open()
    assert forecast["rain"].dims == ("time", "y", "x")
    assert forecast.sizes["time"] == 2
    assert issue.report.exists()
    assert product.issues() == [issue]


@pytest.mark.slow
def test_a_notebook_neither_starts_nor_imports_a_prefect_server(store: Path) -> None:
    arguments = [recipe_of(store), INIT]
    subprocess.run([sys.executable, "-c", SERVERLESS, *arguments], check=True)


def test_a_wrong_value_is_refused_when_the_product_is_opened(store: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'epochs'"):
        open_product(recipe_of(store), {"training.epoch": 2})


def test_values_of_python_are_passed_on_as_they_are(store: Path) -> None:
    given = {"title": "Rain: at 5 #1", "rollout.interval": None, "model.hidden": [4, 4]}
    recipe = open_product(Path(recipe_of(store)), given, root=store / "other").recipe
    assert (recipe.title, recipe.rollout.interval) == ("Rain: at 5 #1", None)
    assert list(recipe.model.hidden) == [4, 4]
    assert recipe.root == store / "other"
