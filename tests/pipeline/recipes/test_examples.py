"""What the page of keys shows as an example is accepted."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

import pipeline.recipes  # noqa: F401  its parts are known once it is imported

EXAMPLES: dict[str, dict[str, Any]] = yaml.safe_load(
    files("pipeline.recipes").joinpath("examples.yaml").read_text()
)


def models() -> dict[str, type[BaseModel]]:
    """Find all parts of a recipe by name."""
    found: dict[str, type[BaseModel]] = {}
    pending: list[type[BaseModel]] = [BaseModel]
    while pending:
        below = pending.pop().__subclasses__()
        pending += below
        found |= {one.__name__: one for one in below if one.__module__.startswith("pipeline")}
    return found


def errors_of(kind: Any, value: Any) -> set[str]:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        return {found["type"] for found in error.errors()}
    return set()


@pytest.mark.parametrize(
    ("part", "key"), [(part, key) for part, keys in EXAMPLES.items() for key in keys]
)
def test_every_example_is_a_value_of_its_key(part: str, key: str) -> None:
    field = models()[part].model_fields[key]
    found = errors_of(Annotated[field.annotation, field], EXAMPLES[part][key])
    assert found <= {"missing"}  # an example of a part shows some of its keys
