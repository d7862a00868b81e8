"""Plain YAML: what everybody reads alike, within bounds that are checked before it is built.

YAML 1.1 takes ``yes`` for true, ``1:30`` for 90 and ``010`` for 8. Here, as in YAML 1.2, those
are text, which the recipe then reads as it was meant or refuses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

MAX_BYTES = 200_000
_MAX_VALUES = 10_000
_MAX_DEPTH = 20
_MAX_LETTERS = 10_000
# Characters of values, keys and YAML's words in a message.
_MAX_VALUE = 40
_MAX_KEY = 100
_MAX_MESSAGE = 300

_NUMBER = "-+.0123456789"
# What is no text: YAML 1.2's core schema, without octal and hexadecimal numbers.
_KINDS = (
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]{0,17})", _NUMBER),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", _NUMBER),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", _NUMBER),
)


class StrictYamlError(ValueError):
    """A text is no plain YAML, or holds more than it may."""


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without aliases and tags, in which keys stand once and dates are text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._n_values = self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._check(self.peek_event())  # type: ignore[no-untyped-call]
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _check(self, event: Any) -> None:
        """Refuse what is not plain, before it is built."""
        self._n_values += 1
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise StrictYamlError(f"line {line}: aliases (*name) are not allowed; write it out")
        if event.tag is not None:
            raise StrictYamlError(
                f"line {line}: tags ({event.tag}) are not allowed; leave it out"
            )
        if self._depth >= _MAX_DEPTH:
            raise StrictYamlError(
                f"line {line}: nested more than {_MAX_DEPTH} deep; flatten it"
            )
        if self._n_values > _MAX_VALUES:
            raise StrictYamlError(f"more than {_MAX_VALUES} keys and values; leave some out")

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        stands = Counter(key.value for key, _ in node.value if isinstance(key.value, str))
        twice = [key for key, n in stands.items() if n > 1]
        if twice:
            line = node.start_mark.line + 1
            raise StrictYamlError(
                f"key {_short(twice[0])} stands twice below line {line}; keep one"
            )
        return super().construct_mapping(node, deep=deep)


_StrictLoader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in _KINDS:
    _StrictLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), list(_first)
    )


def load_strict_yaml(text: str) -> Any:
    """Read a text as plain YAML.

    Raises:
        StrictYamlError: says what is wrong with it, and where.
    """
    return _read(text, yaml.load)


def split_yaml_values(text: str) -> list[str]:
    """Cut a text at the commas that stand in no bracket and no quotes; values stay as written.

    Raises:
        StrictYamlError: it is not plain YAML.
    """
    values = _read(f"[{text}]", yaml.compose)
    if not isinstance(values, yaml.SequenceNode):
        raise StrictYamlError("its brackets do not match")
    spans = [(value.start_mark.index, value.end_mark.index) for value in values.value]
    return [text[start - 1 : end - 1] for start, end in spans]


def _read(text: str, read: Callable[..., Any]) -> Any:
    if len(text) > MAX_BYTES:
        raise StrictYamlError(f"{len(text)} characters, more than {MAX_BYTES}; shorten it")
    try:
        return read(text, Loader=_StrictLoader)
    except StrictYamlError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # such as "\UFFFFFFFF"
        raise StrictYamlError(" ".join(str(error).split())[:_MAX_MESSAGE]) from None


def check_texts(written: Any) -> None:
    """Refuse what was read where a text in it is too long or cannot be printed.

    Raises:
        StrictYamlError: names the key.
    """
    for key, text in _texts(written):
        _check_text(key, text)


def _texts(node: Any, key_path: str = "") -> Iterator[tuple[str, str]]:
    """List all keys and texts, each with the key that holds it."""
    if isinstance(node, str):
        yield key_path, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield key_path, str(key)
            yield from _texts(value, f"{key_path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _texts(value, f"{key_path}.{number}")


def _check_text(key: str, text: str) -> None:
    """Refuse text that cannot be written into a file, or that no one would read."""
    where = f"{repr(key[:_MAX_KEY])[1:-1]}: " if key else ""
    if len(text) > _MAX_LETTERS:
        raise StrictYamlError(
            f"{where}a text of {len(text)} characters, more than {_MAX_LETTERS}; shorten it"
        )
    odd = next((letter for letter in text if _is_odd(letter)), None)
    if odd is not None:
        raise StrictYamlError(
            f"{where}{_short(text)} holds the character {odd!r}, which cannot be printed; "
            "leave it out"
        )


def _is_odd(letter: str) -> bool:
    """Check whether a letter is half a character, or steers a terminal."""
    is_control = (letter < " " and letter not in "\t\n") or "\x7f" <= letter <= "\x9f"
    return is_control or "\ud800" <= letter <= "\udfff"


def _short(text: str) -> str:
    return repr(text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}...")
