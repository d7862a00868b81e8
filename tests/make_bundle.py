"""Builders of whole bundles without a training, and of bundles that were tampered with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pipeline.models import ConvLSTM, count_parameters
from pipeline.recipes import Recipe, load_recipe
from pipeline.specs import build_training_spec
from pipeline.training.bundle import describe_training
from pipeline.training.environment import expected_environment
from pipeline.training.train import TrainingResult
from stores.bundle import BUNDLE, Bundle, publish_bundle, stage_bundle
from stores.cube import Cube
from stores.digests import digest_files, digest_json
from stores.manifest import list_files
from tests.make import make_cube


def make_untrained(folder: Path) -> tuple[Recipe, Cube, Bundle]:
    """Make a cube, and a bundle that says all that a trained one says."""
    cube = Cube.open(make_cube(folder))
    recipe = load_recipe(folder / "recipe.yaml")
    spec = build_training_spec(recipe)
    shape = spec.network
    torch.manual_seed(0)
    network = ConvLSTM(shape)
    curves = {"epoch": [1], "train_loss": [1.0], "validation_loss": [1.0], "lr": [0.1]}
    trained = TrainingResult(
        shape,
        {name: value.numpy() for name, value in network.state_dict().items()},
        pd.DataFrame(curves),
        1,
        count_parameters(network),
        (expected_environment(spec.device, spec.precision, threads=1, ranks=spec.ranks),),
    )
    models = folder / "run/models"
    with stage_bundle(models, recipe.name) as staged:
        trained.curves.to_csv(staged / "curves.csv", index=False)
        description = describe_training(spec, cube, spec.fit.stack, trained)
        bundle = publish_bundle(staged, models, recipe.name, trained.weights, description)
    return recipe, cube, bundle


def seal(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda said: None) -> Path:
    """Let a bundle that was tampered with pass as sound: name and digests are those it has."""
    content = json.loads((folder / BUNDLE).read_text())
    change(content)
    content["files"] = digest_files(
        folder, [name for name in list_files(folder) if name != BUNDLE]
    )
    content.pop("digest", None)
    content["digest"] = digest_json(content)
    (folder / BUNDLE).write_text(json.dumps(content))
    return folder.rename(folder.with_name(f"{content['name']}-{content['digest'][:12]}"))
