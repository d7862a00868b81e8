"""What every part of a recipe is: frozen, closed to unknown keys, and fingerprinted."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Self, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.limits import MAX_COUNT, MAX_STEPS
from stores.digests import digest_json

_MAX_SEED = 4_000_000_000  # Lightning takes none above 2^32 - 1, and runs count on from it

ShortText: TypeAlias = Annotated[str, Field(max_length=200)]
"""Text that stands in a legend or a title."""
Seed: TypeAlias = Annotated[int, Field(ge=0, le=_MAX_SEED)]
StepCount: TypeAlias = Annotated[int, Field(ge=1, le=MAX_STEPS)]
PositiveInt: TypeAlias = Annotated[int, Field(ge=1, le=MAX_COUNT)]


class RecipePart(BaseModel):
    """Base of every part of a recipe."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, written: Any) -> Any:
        if isinstance(written, dict):
            for key in written:
                if key not in cls.model_fields:
                    raise ValueError(cls._unknown(str(key)))
        return written

    @classmethod
    def _unknown(cls, key: str) -> str:
        last = {path: path.rpartition(".")[2] for path in cls.list_keys()}
        own = difflib.get_close_matches(key, cls.model_fields, n=1, cutoff=0.5)
        other = difflib.get_close_matches(key, last.values(), n=1, cutoff=0.8)
        wanted = key if key in last.values() else next(iter(own or other), None)
        near = [path for path, word in last.items() if word == wanted]
        advice = f"known keys are {', '.join(cls.model_fields)}"
        if near:
            advice = f"did you mean {' or '.join(map(repr, near))}?"
        return f"key {key!r} is unknown, so it would have no effect; {advice}"

    @classmethod
    def list_keys(cls) -> list[str]:
        """List the keys of this part, then of the parts in it, as in 'training.seed'."""
        found = []
        for name, stated in cls.model_fields.items():
            found.append(name)
            for part in _parts_in(stated.annotation):
                found += [f"{name}.{key}" for key in part.list_keys()]
        return sorted(dict.fromkeys(found), key=lambda path: path.count("."))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other values, validated like any recipe."""
        return type(self).model_validate(self.model_dump() | changes)


def _parts_in(annotation: Any) -> list[type[RecipePart]]:
    """List the parts that a key may hold; those in lists and tables have no path of words."""
    if isinstance(annotation, type) and issubclass(annotation, RecipePart):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return [part for choice in get_args(annotation) for part in _parts_in(choice)]
    return []


def digest_recipe(part: RecipePart, *, exclude: Mapping[str, Any] | None = None) -> str:
    """Hash the canonical JSON of ``part``; equal digests mean equal requests."""
    written = part.model_dump(mode="json", exclude=dict(exclude or {}))
    return digest_json(written)
