"""Values that pydantic refuses, in our words: what was written, what is wanted, an example."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, get_args

import yaml

from pipeline.recipes.base import RecipePart
from pipeline.recipes.recipe import Recipe

_MOST_GOT, _MOST_EXAMPLE, _MOST_SAID = 80, 100, 200  # characters
_NO_WHOLE, _NO_NUMBER = "{got} is no whole number", "{got} is no number"
_NO_TRUTH, _NO_TEXT = "{got} is neither true nor false", "{got} is no text"
_NO_LIST, _NO_KEYS = "{got} is no list", "{got} holds no keys"
_WORDS = {
    "missing": "it is missing, and must be written",
    "int_type": _NO_WHOLE,
    "int_parsing": _NO_WHOLE,
    "int_parsing_size": _NO_WHOLE,
    "int_from_float": _NO_WHOLE,
    "float_type": _NO_NUMBER,
    "float_parsing": _NO_NUMBER,
    "finite_number": "{got} is no finite number",
    "bool_type": _NO_TRUTH,
    "bool_parsing": _NO_TRUTH,
    "string_type": _NO_TEXT,
    "path_type": "{got} is no path",
    "tuple_type": _NO_LIST,
    "list_type": _NO_LIST,
    "too_short": "it holds {actual_length} values, and {min_length} or more are wanted",
    "too_long": "it holds {actual_length} values, and {max_length} at most are wanted",
    "dict_type": _NO_KEYS,
    "model_type": _NO_KEYS,
    "model_attributes_type": _NO_KEYS,
    "literal_error": "{got} is not {expected}",
    "union_tag_invalid": "{tag!r} is no {discriminator}, which is one of {expected_tags}",
    "union_tag_not_found": "{got} has no key {discriminator}",
    "greater_than_equal": "{got} is less than {ge}, the least that it may be",
    "greater_than": "{got} is not more than {gt}",
    "less_than_equal": "{got} is more than {le}, the most that it may be",
    "less_than": "{got} is not less than {lt}",
}
"""What is said of each kind of mistake, which pydantic names so."""


def describe_mistake(line: Any) -> str:
    """Describe what is wrong with one value, with an example of its key."""
    if line["type"] == "value_error":
        return str(line["msg"]).removeprefix("Value error, ")
    got = truncate(repr(line.get("input")), _MOST_GOT)
    words = _WORDS.get(line["type"])
    if words is None:
        return f"{truncate(str(line['msg']), _MOST_SAID)}, but got {got}"
    bounds = {key: _plain(value) for key, value in line.get("ctx", {}).items()}
    said = truncate(words.format(got=got, **bounds), _MOST_SAID)
    example = _example_of(line["loc"])
    return f"{said}; write e.g. {example}" if example else said


def truncate(text: str, most: int) -> str:
    """Shorten a text for a message."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _plain(value: Any) -> Any:
    """Write a bound as the recipe would: 0, not 0.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _example_of(place: tuple[int | str, ...]) -> str:
    """Show how the innermost key of a place is written; nothing where it is none of ours."""
    named = ""
    parts: list[type[RecipePart]] = [Recipe]
    for step in place:
        holding = next((part for part in parts if step in part.model_fields), None)
        if holding is not None:
            named = _written(holding.__name__, str(step))
            parts = list(_parts_below(holding.model_fields[str(step)].annotation))
        elif isinstance(step, str):  # the name of a kind, or one that the recipe gives
            parts = [part for part in parts if _is_kind(part, step)] or parts
    return named


def _is_kind(part: type[RecipePart], kind: str) -> bool:
    stated = part.model_fields.get("kind")
    return kind == part.__name__ or (stated is not None and kind in get_args(stated.annotation))


def _parts_below(annotation: Any) -> Iterator[type[RecipePart]]:
    """List the parts that a key may hold, also in lists and under names."""
    if isinstance(annotation, type) and issubclass(annotation, RecipePart):
        yield annotation
    for choice in get_args(annotation):
        yield from _parts_below(choice)


def _written(part: str, key: str) -> str:
    written = yaml.safe_dump({key: _examples()[part][key]}, default_flow_style=True, width=200)
    return truncate(written.strip()[1:-1], _MOST_EXAMPLE)


@cache
def _examples() -> Any:
    text = files("pipeline.recipes").joinpath("examples.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)
