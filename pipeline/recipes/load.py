"""From YAML and overrides to a recipe, with messages that a user can act on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.recipes.mistakes import cut, say_mistake
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
_POSITION = re.compile(r"[0-9]{1,5}")
_MOST_PARENTS = 10
_SHOWN = 200  # characters of an override in a message
_MOST_TOLD = 10  # mistakes of one recipe; more do not fit onto a screen
_MOST_NAME = 255  # bytes of one folder's name, as file systems have it


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
    _resolve_folders(written, path.resolve().parent)
    for override in overrides:
        _apply_override(written, override)
    if root is not None:
        written["root"] = str(root)
    _resolve_folders(written, Path.cwd())
    try:
        check_texts(written)
        recipe = Recipe.model_validate(written)
    except StrictYamlError as error:
        raise RecipeError(f"{path.name} is refused:\n  {error}") from None
    except ValidationError as error:
        raise _build_error(f"{path.name} is refused:", error, written) from None
    _check_booleans(written, recipe.model_dump(), path.name)
    return recipe


def resolve_dates(recipe: Recipe, newest: Time) -> Recipe:
    """Return the recipe with dates in its split, counted from the target's newest frame.

    Its fingerprint stays that of what was written.

    Raises:
        RecipeError: with these dates parts leak, or hold no sample.
    """
    step = recipe.step.of_series(newest)
    title = f"recipe {recipe.name} is refused, with the newest frame {step.format(newest)}:"
    try:
        if not recipe.split.is_resolved:
            recipe = recipe.replace(split=resolve_split(recipe.split, step, newest))
        recipe.split.to_split().check_leaks(step)
    except ValidationError as error:
        raise _build_error(title, error, recipe.model_dump()) from None
    except ValueError as error:
        raise RecipeError(f"{title}\n  split: {error}") from None
    return recipe


def _build_error(title: str, error: ValidationError, written: Mapping[str, Any]) -> RecipeError:
    lines = [f"  {_key_path(line, written)}: {say_mistake(line)}" for line in error.errors()]
    more = [f"  and {len(lines) - _MOST_TOLD} more"] if len(lines) > _MOST_TOLD else []
    return RecipeError("\n".join([title, *lines[:_MOST_TOLD], *more]))


def _check_booleans(written: Any, read: Any, place: str) -> None:
    """Refuse true and false where a number stands; Python would count them as 1 and 0."""
    if isinstance(written, bool) and not isinstance(read, bool):
        word = str(written).lower()
        raise RecipeError(
            f"{place} is refused: {word} is no number, though it would count as "
            f"{int(written)}; write the number that is meant"
        )
    if isinstance(written, dict) and isinstance(read, Mapping):
        for key in written.keys() & read.keys():
            _check_booleans(written[key], read[key], f"{place}: {key}")
    if isinstance(written, list) and isinstance(read, list | tuple):
        for number, pair in enumerate(zip(written, read, strict=False)):
            _check_booleans(*pair, f"{place}.{number}")


def recipe_schema() -> str:
    """Write the JSON schema that editors use to complete and check recipes."""
    return json.dumps(Recipe.model_json_schema(), indent=1) + "\n"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        written = load_strict_yaml(_read_text(path))
    except StrictYamlError as error:
        raise RecipeError(f"recipe {path.name} is not plain YAML: {error}") from None
    if not isinstance(written, dict):
        raise RecipeError(f"recipe {path.name} holds no keys; see deploy/recipes for examples")
    return written


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


def _apply_override(written: dict[str, Any], override: str) -> None:
    """Set ``key.key=value`` in place."""
    said = f"--set {cut(override, _SHOWN)!r}"
    key, equals, text = override.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not last or len(parents) > _MOST_PARENTS:
        raise RecipeError(f"{said} is not key=value; write e.g. training.epochs=2")
    try:
        value = load_strict_yaml(text)
    except StrictYamlError as error:
        raise RecipeError(f"{said}: its value is not plain YAML: {error}") from None
    node: Any = written
    for parent in parents:
        node = (
            node[_list_index(node, parent, said)]
            if isinstance(node, list)
            else (node.setdefault(parent, {}))
        )
        if not isinstance(node, dict | list):
            raise RecipeError(f"{said}: {parent!r} holds a value, not keys")
    node[_list_index(node, last, said) if isinstance(node, list) else last] = value


def _list_index(node: list[Any], index: str, said: str) -> int:
    last = len(node) - 1
    if not _POSITION.fullmatch(index) or int(index) > last:
        raise RecipeError(f"{said}: {index!r} is no position from 0 to {last}")
    return int(index)


def _resolve_folders(written: dict[str, Any], base: Path) -> None:
    """Make the folders of a written recipe absolute."""
    for *parents, last in _FOLDERS:
        node: Any = written
        for parent in parents:
            node = node.get(parent) if isinstance(node, Mapping) else None
        if isinstance(node, dict) and isinstance(node.get(last), str):
            node[last] = _absolute(node[last], base, ".".join((*parents, last)))


def _absolute(folder: str, base: Path, key: str) -> str:
    try:
        path = (base / Path(folder).expanduser()).resolve()
        if max(map(len, map(os.fsencode, path.parts))) > _MOST_NAME:
            raise ValueError(f"a name in it has more than {_MOST_NAME} bytes")
        return str(path)
    except (ValueError, RuntimeError, OSError) as error:  # no text of a path, or no such home
        raise RecipeError(
            f"{key}={cut(ascii(folder), _SHOWN)} cannot name a folder ({error}), so nothing "
            "could be read or written there; write a path"
        ) from None


def _key_path(line: Any, written: Any) -> str:
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
