"""The order of a network's channels: bundles hold weights that were learned in it."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from pipeline.models.steppers import stack_channels
from pipeline.recipes import load_recipe
from pipeline.rollout.forecaster import TileInputs
from pipeline.rollout.permutation import list_covariates, replace_channels
from pipeline.specs import build_fit_spec
from pipeline.streams.input_stack import InputStack
from stores.array_types import Float32Array
from tests.make import RAIN_FILES, make_recipe

PIXEL = (1, 1)
SEASON = {"kind": "derived", "of": "season"}
PLACE = {"kind": "derived", "of": "lonlat"}
HEIGHT = {"kind": "static", "variable": "elevation"}
LAND = {"kind": "static", "variable": "land_fraction"}
TREES = {"kind": "annual", "variable": "trees"}
KNOWN = {"kind": "step", "variable": "wet", "future": "known"}
LATE = {"kind": "step", "variable": "late", "future": "persist", "delay": 2}
VARIABLES = {
    "wet": {"files": RAIN_FILES, "units": "1"},
    "late": {"files": RAIN_FILES, "units": "1"},
    "trees": {"files": "trees_{time:%Y}.tif", "units": "1"},
}


class Order(NamedTuple):
    names: list[str]
    places: dict[str, slice]
    """Of every covariate among all channels."""
    first_static: int
    """What has a date stands before, what has none from here on."""


ORDERS = {
    "bare": ([], Order(["rain", "valid"], {}, 2)),
    "statics alone": (
        [LAND, HEIGHT],
        Order(
            ["rain", "valid", "land_fraction", "elevation"],
            {"land_fraction": slice(2, 3), "elevation": slice(3, 4)},
            2,
        ),
    ),
    "season alone": (
        [SEASON],
        Order(["rain", "valid", "season_sin", "season_cos"], {"season": slice(2, 4)}, 4),
    ),
    "the example": (
        [HEIGHT, SEASON, PLACE],
        Order(
            ["rain", "valid", "season_sin", "season_cos", "elevation", "place_y", "place_x"],
            {"season": slice(2, 4), "elevation": slice(4, 5), "lonlat": slice(5, 7)},
            4,
        ),
    ),
    "known and late futures": (
        [KNOWN, LATE],
        Order(["rain", "valid", "wet", "late"], {"wet": slice(2, 3), "late": slice(3, 4)}, 4),
    ),
    "everything": (
        [PLACE, KNOWN, HEIGHT, SEASON, LAND, LATE, TREES],
        Order(
            [
                *("rain", "valid", "wet", "season_sin", "season_cos", "late", "trees"),
                *("place_y", "place_x", "elevation", "land_fraction"),
            ],
            {
                "wet": slice(2, 3),
                "season": slice(3, 5),
                "late": slice(5, 6),
                "trees": slice(6, 7),
                "lonlat": slice(7, 9),
                "elevation": slice(9, 10),
                "land_fraction": slice(10, 11),
            },
            7,
        ),
    ),
}


def order(folder: Path, covariates: list[dict[str, Any]]) -> InputStack:
    path = make_recipe(folder, archive={"variables": VARIABLES}, covariates=covariates)
    return build_fit_spec(load_recipe(path)).stack


def number(recorded: Order) -> TileInputs:
    """Give parts in which every channel holds its recorded place among all."""
    places = np.arange(len(recorded.names), dtype=np.float32)[:, None, None]
    return TileInputs(
        target=np.zeros((1, 1, *PIXEL), np.float32),
        valid=np.ones((1, *PIXEL), dtype=np.bool_),
        forcings=places[None, 2 : recorded.first_static],
        statics=places[recorded.first_static :],
        domain=np.ones(PIXEL, dtype=np.bool_),
    )


def see(parts: TileInputs) -> Float32Array:
    """Stack parts of one frame and pixel as a network sees them (c,)."""
    tensors = [torch.from_numpy(np.asarray(part)[None]) for part in parts[:4]]
    target, valid, forcings, statics = tensors
    seen: Float32Array = (
        stack_channels(target[:, 0], valid, forcings, statics).flatten().numpy()
    )
    return seen


@pytest.mark.parametrize(("covariates", "recorded"), ORDERS.values(), ids=ORDERS)
def test_channels_keep_the_order_that_was_recorded(
    tmp_path: Path, covariates: list[dict[str, Any]], recorded: Order
) -> None:
    stack = order(tmp_path, covariates)
    assert list(stack.names) == recorded.names
    # The second says whether the target is valid: 1, which is its place too.
    np.testing.assert_array_equal(see(number(recorded)), np.arange(len(recorded.names)))


@pytest.mark.parametrize(("covariates", "recorded"), ORDERS.values(), ids=ORDERS)
def test_a_covariate_is_exchanged_at_its_recorded_place(
    tmp_path: Path, covariates: list[dict[str, Any]], recorded: Order
) -> None:
    stack = order(tmp_path, covariates)
    own = number(recorded)
    foreign = own._replace(forcings=own.forcings + 100, statics=own.statics + 100)
    history, *others = list_covariates(stack)
    assert history.group == "history"
    assert [covariate.name for covariate in others] == list(recorded.places)
    for covariate in others:
        (changed,) = np.nonzero(see(replace_channels(own, foreign, covariate)) != see(own))
        expected = np.arange(len(recorded.names))[recorded.places[covariate.name]]
        np.testing.assert_array_equal(changed, expected)
