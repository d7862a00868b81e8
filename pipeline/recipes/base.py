"""What every part of a recipe is: frozen, closed to unknown keys, and fingerprinted."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator


class RecipePart(BaseModel):
    """Base of every part of a recipe."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _knows_every_key(cls, written: Any) -> Any:
        if isinstance(written, dict):
            for key in written:
                if key not in cls.model_fields:
                    raise ValueError(cls._unknown(str(key)))
        return written

    @classmethod
    def _unknown(cls, key: str) -> str:
        near = difflib.get_close_matches(key, cls.model_fields, n=1, cutoff=0.5)
        known = ", ".join(cls.model_fields)
        advice = f"did you mean {near[0]!r}?" if near else f"known keys are {known}"
        return f"key {key!r} is unknown, so it would have no effect; {advice}"

    def with_values(self, **changes: Any) -> Self:
        """Return a copy with other values, validated like any recipe."""
        return type(self).model_validate(self.model_dump() | changes)


def digest(part: RecipePart, *, exclude: Mapping[str, Any] | None = None) -> str:
    """Hash the canonical JSON of ``part``; equal digests mean equal requests."""
    written = part.model_dump(mode="json", exclude=dict(exclude or {}))
    return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()
