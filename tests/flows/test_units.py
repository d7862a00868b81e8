"""What has no unit is shown without one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from flows.steps.importance import _row
from flows.steps.scores import show_scores
from pipeline.metrics import ErrorSums, score_table
from pipeline.rollout.evaluate import Evaluation
from pipeline.rollout.hindcast import MODEL
from pipeline.training.logger import _format_score


def evaluation(units: str) -> Evaluation:
    truth = np.arange(18.0).reshape(2, 3, 3)
    sums = {
        MODEL: ErrorSums.of(truth + 1, truth),
        "persistence": ErrorSums.of(truth + 2, truth),
    }
    chances = {"lead": [1, 2], "level": 0.8, "n": 9, "coverage": 0.8, "width": 1.0}
    return Evaluation(
        part="test",
        table=score_table(sums, units=units),
        alarms=[],
        inits=["2006-12"],
        probabilistic=pd.DataFrame(chances | {"units": units}),
        key=cast(Any, None),
        cube_version="1",
        n_pixels=9,
    )


@pytest.mark.parametrize(("units", "shown"), [("1", ""), ("mm month-1", " [mm month⁻¹]")])
def test_tables_of_scores_name_units_where_there_are_some(
    capsys: pytest.CaptureFixture[str], units: str, shown: str
) -> None:
    show_scores(evaluation(units))
    said = capsys.readouterr().out
    assert f"RMSE{shown} and skill of 1 forecast" in said
    assert f"on the untouched test part{shown}\n" in said
    rows = pd.DataFrame({"lead": [1, "all"], "importance": 0.5, "importance_sd": 0.1})
    row = _row("ndvi", rows.assign(rmse_rise=2.0), units, helps=True)
    assert f"RMSE rise{shown}" in row


@pytest.mark.parametrize(
    ("units", "shown"), [("1", "79.61"), ("mm", "79.61 mm"), ("", "79.61")]
)
def test_the_log_of_a_training_names_units_where_there_are_some(units: str, shown: str) -> None:
    learner = SimpleNamespace(scores=[SimpleNamespace(name="validation_rmse", units=units)])
    said = _format_score(cast(Any, learner), "validation_rmse", 79.612)
    assert said == f"validation_rmse {shown}"
