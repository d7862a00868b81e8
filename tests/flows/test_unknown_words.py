from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.evaluate import evaluate
from flows.forecast import forecast
from pipeline.registry import UnknownOptionError
from stores.bundle import BUNDLE, MODELS, open_bundle, open_current_bundle
from stores.digests import digest_json

Change = Callable[[dict[str, Any]], Any]
WORDS: dict[str, tuple[Change, str]] = {
    "transform": (
        lambda said: said["stack"]["target"]["chain"][0].update(kind="boxcox"),
        "transform 'boxcox' is unknown here, so nothing can follow from it; known are trend, "
        "log1p, sqrt, anomaly, zscore, minmax",
    ),
    "forcing": (
        lambda said: said["stack"]["forcings"][0].update(kind="weekly"),
        "kind of covariate 'weekly'",
    ),
    "future": (
        lambda said: said["stack"]["forcings"][0].update(future="scenario"),
        "future of a covariate 'scenario'",
    ),
    "norm": (lambda said: said["network"].update(norm="layer"), "model.norm 'layer'"),
    "residual": (lambda said: said["network"].update(residual="trend"), "residual 'trend'"),
    "memory": (lambda said: said["network"].update(memory="shared"), "memory 'shared'"),
    "family": (lambda said: said["network"].update(family="unet"), "model.family 'unet'"),
    "key": (
        lambda said: said["network"].update(heads=4),
        "unexpected keyword argument 'heads'",
    ),
    "static": (
        lambda said: said["stack"]["statics"][0].update(kind="slope"),
        "unexpected keyword argument 'kind'",
    ),
}


def tamper(store: Path, change: Change) -> str:
    """Write the current bundle as a later version would, sound but with other words."""
    models = store / "run" / MODELS
    now = open_current_bundle(models, "small-rain").path
    later = models / "small-rain-later"
    shutil.copytree(now, later, dirs_exist_ok=True)
    content = json.loads((later / BUNDLE).read_text())
    change(content["description"])
    content["description"]["versions"]["cubecast"] = "9.1.0"
    del content["digest"]
    content["digest"] = digest_json(content)
    (later / BUNDLE).write_text(json.dumps(content))
    later = later.rename(models / f"small-rain-{content['digest'][:12]}")
    assert open_bundle(later).digest == content["digest"]
    return later.name


@pytest.mark.parametrize(("change", "named"), WORDS.values(), ids=WORDS)
def test_a_word_of_a_later_version_is_refused_by_name_before_anything_is_written(
    store: Path, change: Change, named: str
) -> None:
    later, recipe = tamper(store, change), str(store / "recipe.yaml")
    before = sorted(store.rglob("*"))
    expected = (
        rf"{later} was written by cubecast 9\.1\.0 and says what this cubecast [\d.]+ does not "
        rf"know \(.*{re.escape(named)}.*install cubecast 9\.1\.0"
    )
    with pytest.raises(UnknownOptionError, match=expected):
        forecast.fn(recipe, bundle=later)
    with pytest.raises(UnknownOptionError, match=expected):
        evaluate.fn(recipe, bundle=later)
    members = ["rollout.members=2", f"rollout.bundles=[{later}]"]
    with pytest.raises(UnknownOptionError, match=expected):
        forecast.fn(recipe, members)
    assert sorted(store.rglob("*")) == before
