"""What tests of flows share: a small store, made once with plain functions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.ingest import ingest
from flows.train import train
from tests.make import make_recipe


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    recipe = str(make_recipe(folder, training={"epochs": 1}))
    ingest.fn(recipe)
    train.fn(recipe)
    return folder


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "store"
    shutil.copytree(trained, folder)
    yield folder
    shutil.rmtree(folder)
