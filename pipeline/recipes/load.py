"""From YAML and overrides to a recipe, with messages that a user can act on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.recipes.recipe import Recipe
from pipeline.recipes.split import resolve_split
from stores.times import Time

_MAX_BYTES = 1_000_000
_FOLDERS = (("root",), ("archive", "root"))


class RecipeError(ValueError):
    """A recipe cannot be used; the message says which key to change."""


def load_recipe(
    path: Path, *, overrides: Iterable[str] = (), root: Path | None = None
) -> Recipe:
    """Read a recipe, change what the caller overrides, and validate it.

    Folders written in the file are relative to the file; folders given as overrides are
    relative to the working directory.

    Args:
        path: YAML file.
        overrides: ``key.key=value`` with the value in YAML, as in ``training.epochs=2``.
        root: replaces the recipe's ``root``.

    Raises:
        RecipeError: the file cannot be read or a value is refused.
    """
    written = _read_yaml(path)
    _anchor(written, path.resolve().parent)
    for override in overrides:
        _apply(written, override)
    if root is not None:
        written["root"] = str(root)
    _anchor(written, Path.cwd())
    try:
        return Recipe.model_validate(written)
    except ValidationError as error:
        raise _refusal(f"{path.name} is refused:", error, written) from None


def date_recipe(recipe: Recipe, newest: Time) -> Recipe:
    """Return the recipe with dates in its split, counted from the target's newest frame.

    Its fingerprint stays that of what was written.

    Raises:
        RecipeError: with these dates parts leak, or hold no sample.
    """
    if recipe.split.is_dated:
        return recipe
    label = recipe.step.label(newest)
    try:
        return recipe.with_values(split=resolve_split(recipe.split, recipe.step, newest))
    except ValidationError as error:
        title = f"recipe {recipe.name} is refused, with the newest frame {label}:"
        raise _refusal(title, error, recipe.model_dump()) from None


def _refusal(title: str, error: ValidationError, written: Mapping[str, Any]) -> RecipeError:
    lines = [f"  {_place(line, written)}: {_message(line)}" for line in error.errors()]
    return RecipeError("\n".join([title, *lines]))


def recipe_schema() -> str:
    """Write the JSON schema that editors use to complete and check recipes."""
    return json.dumps(Recipe.model_json_schema(), indent=1) + "\n"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"recipe {path} cannot be read ({error}); name a YAML file"
        raise RecipeError(message) from None
    if len(text) > _MAX_BYTES:
        raise RecipeError(f"recipe {path} holds {len(text)} bytes, more than a recipe's 1 MB")
    try:
        written = yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"recipe {path.name} is not plain YAML: {error}") from None
    if not isinstance(written, dict):
        raise RecipeError(f"recipe {path.name} holds no keys; see deploy/recipes for examples")
    return written


class _PlainLoader(yaml.SafeLoader):
    """Safe YAML in which dates stay text, keys stand once and aliases are refused."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"key {twice[0]!r} stands twice below line {line}; keep one")
        return super().construct_mapping(node, deep=deep)


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _apply(written: dict[str, Any], override: str) -> None:
    """Set ``key.key=value`` in place."""
    key, equals, text = override.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not last:
        raise RecipeError(f"--set {override!r} is not key=value; write e.g. training.epochs=2")
    node: Any = written
    for parent in parents:
        if isinstance(node, list):
            node = _item(node, parent, override)
        else:
            node = node.setdefault(parent, {})
        if not isinstance(node, dict | list):
            raise RecipeError(f"--set {override!r}: {parent!r} holds a value, not keys")
    value = yaml.load(text, Loader=_PlainLoader)
    if isinstance(node, list):
        _item(node, last, override)
        node[int(last)] = value
    else:
        node[last] = value


def _item(node: list[Any], index: str, override: str) -> Any:
    if not index.isdigit() or int(index) >= len(node):
        last = len(node) - 1
        raise RecipeError(f"--set {override!r}: {index!r} is no position from 0 to {last}")
    return node[int(index)]


def _anchor(written: dict[str, Any], base: Path) -> None:
    """Make the folders of a written recipe absolute."""
    for *parents, last in _FOLDERS:
        node: Any = written
        for parent in parents:
            node = node.get(parent) if isinstance(node, Mapping) else None
        if isinstance(node, dict) and isinstance(node.get(last), str):
            node[last] = _absolute(node[last], base, ".".join((*parents, last)))


def _absolute(folder: str, base: Path, key: str) -> str:
    try:
        return str((base / Path(folder).expanduser()).resolve())
    except (ValueError, RuntimeError, OSError) as error:  # no text of a path, or no such home
        raise RecipeError(
            f"{key}={folder!a} cannot name a folder ({error}), so nothing could be read or "
            "written there; write a path"
        ) from None


def _place(line: Any, written: Any) -> str:
    """Name what is refused as it is written, without the kinds that pydantic names as well."""
    *parents, last = line["loc"] or ("recipe",)
    named, node = [], written
    for part in parents:
        if _has(node, part):
            named.append(part)
            node = node[part]
    if _has(node, last) or line["type"] == "missing" or not named:
        named.append(last)
    return ".".join(map(str, named))


def _has(node: Any, part: int | str) -> bool:
    if isinstance(part, int):
        return isinstance(node, list | tuple) and part < len(node)
    return isinstance(node, Mapping) and part in node


def _message(line: Any) -> str:
    message = str(line["msg"]).removeprefix("Value error, ")
    if line["type"] == "value_error":
        return message
    got = repr(line.get("input"))
    return f"{message}, but got {got if len(got) < 80 else got[:77] + '...'}"
