"""From YAML and overrides to a recipe, with messages that a user can act on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.recipes.recipe import Recipe
from pipeline.recipes.split import resolve_split
from pipeline.recipes.strict_yaml import (
    MAX_BYTES,
    StrictYamlError,
    check_texts,
    load_strict_yaml,
)
from stores.times import Time

_FOLDERS = (("root",), ("archive", "root"))
# Where pydantic names its own kinds.
_PLAIN = dict.fromkeys(
    ("model_type", "model_attributes_type", "dict_type"), "it holds keys"
) | {"tuple_type": "it is a list"}
_POSITION = re.compile(r"[0-9]{1,5}")
_MAX_PARENTS = 10
_MAX_TEXT = 200  # characters of an override in a message
_MAX_VALUE = 80  # characters of a value in a message
_MAX_ERRORS = 10  # mistakes of one recipe; more do not fit onto a screen
_MAX_NAME_BYTES = 255  # bytes of one folder's name, as file systems have it


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
    raw = _read_yaml(path)
    _resolve_folders(raw, path.resolve().parent)
    for override in overrides:
        _apply_override(raw, override)
    if root is not None:
        raw["root"] = str(root)
    _resolve_folders(raw, Path.cwd())
    try:
        check_texts(raw)
        recipe = Recipe.model_validate(raw)
    except StrictYamlError as error:
        raise RecipeError(f"{path.name} is refused:\n  {error}") from None
    except ValidationError as error:
        raise _build_error(f"{path.name} is refused:", error, raw) from None
    _check_booleans(raw, recipe.model_dump(), path.name)
    return recipe


def resolve_dates(recipe: Recipe, newest: Time) -> Recipe:
    """Return the recipe with dates in its split, counted from the target's newest frame.

    Its fingerprint stays that of what was written.

    Raises:
        RecipeError: with these dates parts leak, or hold no sample.
    """
    step = recipe.step.of_series(newest)
    title = f"recipe {recipe.name} is refused, with the newest frame {step.format(newest)}:"
    dated = recipe
    try:
        if not recipe.split.is_resolved:
            dated = recipe.replace(split=resolve_split(recipe.split, step, newest))
        dated.split.to_split().check_leaks(step)
    except ValidationError as error:
        raise _build_error(title, error, recipe.model_dump()) from None
    except ValueError as error:
        raise RecipeError(f"{title}\n  split: {error}") from None
    return dated


def _build_error(title: str, error: ValidationError, raw: Mapping[str, Any]) -> RecipeError:
    lines = [f"  {_key_path(line, raw)}: {_message(line)}" for line in error.errors()]
    more = [f"  and {len(lines) - _MAX_ERRORS} more"] if len(lines) > _MAX_ERRORS else []
    return RecipeError("\n".join([title, *lines[:_MAX_ERRORS], *more]))


def _check_booleans(raw: Any, parsed: Any, key_path: str) -> None:
    """Refuse true and false where a number stands; Python would count them as 1 and 0."""
    if isinstance(raw, bool) and not isinstance(parsed, bool):
        word = str(raw).lower()
        raise RecipeError(
            f"{key_path} is refused: {word} is no number, though it would count as "
            f"{int(raw)}; write the number that is meant"
        )
    if isinstance(raw, dict) and isinstance(parsed, Mapping):
        for key in raw.keys() & parsed.keys():
            _check_booleans(raw[key], parsed[key], f"{key_path}: {key}")
    if isinstance(raw, list) and isinstance(parsed, list | tuple):
        for number, pair in enumerate(zip(raw, parsed, strict=False)):
            _check_booleans(*pair, f"{key_path}.{number}")


def recipe_schema() -> str:
    """Write the JSON schema that editors use to complete and check recipes."""
    return json.dumps(Recipe.model_json_schema(), indent=1) + "\n"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = load_strict_yaml(_read_text(path))
    except StrictYamlError as error:
        raise RecipeError(f"recipe {path.name} is not plain YAML: {error}") from None
    if not isinstance(raw, dict):
        raise RecipeError(f"recipe {path.name} holds no keys; see deploy/recipes for examples")
    return raw


def _read_text(path: Path) -> str:
    """Read a file that is small enough for a recipe; a pipe or a device may never end."""
    try:
        if path.exists() and not path.is_file():
            raise OSError(f"it is {'a folder' if path.is_dir() else 'no file'}")
        if path.stat().st_size > MAX_BYTES:
            raise OSError(f"{path.stat().st_size} bytes, and recipes have {MAX_BYTES} at most")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        why = f"byte {error.start} is no UTF-8; save it as UTF-8"
    except (OSError, ValueError) as error:
        why = f"{error}; name a YAML file"
    raise RecipeError(f"recipe {path} cannot be read: {why}")


def _apply_override(raw: dict[str, Any], override: str) -> None:
    """Set ``key.key=value`` in place."""
    option = f"--set {_truncate(override, _MAX_TEXT)!r}"
    key, equals, text = override.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not last or len(parents) > _MAX_PARENTS:
        raise RecipeError(f"{option} is not key=value; write e.g. training.epochs=2")
    try:
        value = load_strict_yaml(text)
    except StrictYamlError as error:
        raise RecipeError(f"{option}: its value is not plain YAML: {error}") from None
    node: Any = raw
    for parent in parents:
        node = (
            node[_list_index(node, parent, option)]
            if isinstance(node, list)
            else (node.setdefault(parent, {}))
        )
        if not isinstance(node, dict | list):
            raise RecipeError(f"{option}: {parent!r} holds a value, not keys")
    node[_list_index(node, last, option) if isinstance(node, list) else last] = value


def _list_index(node: list[Any], index: str, option: str) -> int:
    last = len(node) - 1
    if not _POSITION.fullmatch(index) or int(index) > last:
        raise RecipeError(f"{option}: {index!r} is no position from 0 to {last}")
    return int(index)


def _resolve_folders(raw: dict[str, Any], base: Path) -> None:
    """Make the folders of a written recipe absolute."""
    for *parents, last in _FOLDERS:
        node: Any = raw
        for parent in parents:
            node = node.get(parent) if isinstance(node, Mapping) else None
        if isinstance(node, dict) and isinstance(node.get(last), str):
            node[last] = _absolute(node[last], base, ".".join((*parents, last)))


def _absolute(folder: str, base: Path, key: str) -> str:
    try:
        path = (base / Path(folder).expanduser()).resolve()
        if max(map(len, map(os.fsencode, path.parts))) > _MAX_NAME_BYTES:
            raise ValueError(f"a name in it has more than {_MAX_NAME_BYTES} bytes")
        return str(path)
    except (ValueError, RuntimeError, OSError) as error:  # no text of a path, or no such home
        raise RecipeError(
            f"{key}={_truncate(ascii(folder), _MAX_TEXT)} cannot name a folder ({error}), so "
            "nothing could be read or written there; write a path"
        ) from None


def _key_path(error: Any, raw: Any) -> str:
    """Name what is refused as it is written, without the kinds that pydantic names as well."""
    *parents, last = error["loc"] or ("recipe",)
    keys: list[Any] = []
    node = raw
    for key in parents:
        if _has(node, key):
            keys.append(key)
            node = node[key]
    if _has(node, last) or error["type"] == "missing" or not keys:
        keys.append(last)
    return ".".join(map(str, keys))


def _has(node: Any, part: int | str) -> bool:
    if isinstance(part, int):
        return isinstance(node, list | tuple) and part < len(node)
    return isinstance(node, Mapping) and part in node


def _message(error: Any) -> str:
    message = _PLAIN.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return message
    got = _truncate(repr(error.get("input")), _MAX_VALUE)
    return f"{_truncate(message, _MAX_TEXT)}, but got {got}"


def _truncate(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
