"""The reference of all keys of a recipe, as a page that people read: docs/recipe.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import yaml

from pipeline.recipes.recipe import Recipe

Schema = Mapping[str, Any]

_HEAD = """# Every key of a recipe

A recipe is a YAML file. This page is generated from its schema, so that it says what the code
does: `cubecast schema --markdown > docs/recipe.md`. `cubecast init` writes a commented recipe
to begin with, and [your-own-archive.md](your-own-archive.md) goes through one step by step.

It is plain YAML of at most 200 kB: no tags, no aliases, every key once; dates are text, and
`010` is ten. Bounds of numbers are far above any use.

Any key can be changed for one run: `--set training.epochs=2`. Keys **in bold** must be written;
units stand in [].
"""
_LIST_ITEM = "[]"
_MAP_ITEM = ".NAME"


def recipe_reference() -> str:
    """Write the page: one section a part of the recipe, one row a key."""
    schema = Recipe.model_json_schema()
    examples = yaml.safe_load(files("pipeline.recipes").joinpath("examples.yaml").read_text())
    sections = [
        _section(path, part, schema["$defs"], examples) for path, part in _parts(schema)
    ]
    return "\n".join([_HEAD, *sections])


def _parts(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """List the parts of a recipe with their paths, in the order in which they are written."""
    pending: list[tuple[str, Schema]] = [("", schema)]
    while pending:
        path, part = pending.pop(0)
        yield path, part
        below = [
            (f"{path}.{key}{suffix}".lstrip("."), schema["$defs"][name])
            for key, value in part["properties"].items()
            for suffix, name in _references(value)
        ]
        pending = below + pending


def _references(value: Schema, suffix: str = "") -> Iterator[tuple[str, str]]:
    """Find the parts that a key can hold, and whether it holds a list or names of them."""
    if "$ref" in value:
        yield suffix, value["$ref"].rsplit("/", 1)[-1]
    for option in (*value.get("anyOf", ()), *value.get("oneOf", ())):
        yield from _references(option, suffix)
    if isinstance(value.get("items"), Mapping):
        yield from _references(value["items"], suffix + _LIST_ITEM)
    if isinstance(value.get("additionalProperties"), Mapping):
        yield from _references(value["additionalProperties"], suffix + _MAP_ITEM)


def _section(path: str, part: Schema, parts: Schema, examples: Mapping[str, Any]) -> str:
    name = part["title"]
    rows = [
        _row(key, value, parts, key in part.get("required", ()), examples[name][key])
        for key, value in part["properties"].items()
    ]
    title = f"`{path}`: {name}" if _is_choice(part) else f"`{path}`" if path else "The recipe"
    return "\n".join(
        [
            f"\n## {title}\n",
            _cell(part["description"]),
            "\n| key | value | default | meaning | example |\n|---|---|---|---|---|",
            *rows,
        ]
    )


def _is_choice(part: Schema) -> bool:
    """Check whether a part is one of several kinds."""
    return "const" in part["properties"].get("kind", {}) or "enum" in part["properties"].get(
        "kind", {}
    )


def _row(key: str, value: Schema, parts: Schema, is_required: bool, example: Any) -> str:
    below = (parts[name]["description"] for _, name in _references(value))
    meaning = value.get("description") or next(below, "Which of the kinds this is.")
    written = yaml.safe_dump({key: example}, default_flow_style=True, width=200).strip()[1:-1]
    cells = (
        f"**`{key}`**" if is_required else f"`{key}`",
        _values(value),
        "" if is_required else _default(value),
        _cell(meaning),
        f"`{written}`",
    )
    return f"| {' | '.join(cells)} |"


def _values(value: Schema) -> str:
    """Describe which values a key takes."""
    options = [*value.get("anyOf", ()), *value.get("oneOf", ())]
    if options:
        return " or ".join(dict.fromkeys(map(_values, options)))
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    if "$ref" in value:
        return "see below"
    if value.get("type") == "array":
        items: Schema = value.get("items") or next(iter(value.get("prefixItems", ())), {})
        return f"list of {_values(items)}"
    if value.get("type") == "object":
        return "named parts, see below"
    words = {"integer": "whole number", "boolean": "true, false", "string": "text"}
    kind = str(value.get("type"))
    return f"{words.get(kind, kind)}{_bounds(value)}"


def _bounds(value: Schema) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {value[key]:g}" for key, sign in signs.items() if key in value]
    return f" {', '.join(bounds)}" if bounds else ""


def _default(value: Schema) -> str:
    default = value.get("default")
    if default is None:
        return "none"
    if isinstance(default, Mapping):
        return "as below"
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    """Write a text in one line of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")
