"""The rules of CONTRIBUTING that no linter knows; all from the text of the files."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("stores", "pipeline", "flows", "deploy")
ALL = (*ROOMS, "tests", "benchmarks", "samples")

MAX_LINES = 320
LONGER = {  # files of today; none may grow, and no file may be added
    "tests/faults/test_malformed_bundles.py": 334,
    "tests/faults/test_malformed_recipes.py": 391,
    "tests/flows/test_check.py": 322,
    "tests/flows/test_server.py": 378,
    "tests/invariants/test_two_ranks_equal_one.py": 393,
    "tests/stores/test_publish.py": 348,
    "tests/stores/test_register.py": 388,
}
MAX_FUNCTION_LINES = 45
LONGER_FUNCTIONS = {  # as LONGER
    "flows/deployment.py:deploy": 50,
    "flows/forecast.py:forecast": 48,
    "pipeline/rollout/prepare.py:build_request": 50,
    "pipeline/streams/fields.py:create_fields": 48,
}
VAGUE = ("Say", "Says", "Tell", "Tells", "Give", "Gives")
VAGUE_DOCSTRINGS = {  # by package, what is left of them; a ceiling is only ever lowered
    "pipeline.tiling": 10,
}
FIELDS_WORDS = {"Product"}  # old names that mean here what they mean everywhere


@cache
def sources(*rooms: str) -> list[str]:
    paths = (path for room in rooms for path in (ROOT / room).rglob("*.py"))
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


@cache
def parse(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def functions(file: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def imports(file: str) -> frozenset[str]:
    """List what a file imports: modules, and whatever stands behind ``from ... import``."""
    names: set[str] = set()
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def test_files_are_short() -> None:
    lengths = {file: len((ROOT / file).read_text().splitlines()) for file in sources(*ALL)}
    assert len(lengths) > 400
    assert LONGER.keys() <= lengths.keys(), "take away what is gone"
    assert {file: n for file, n in lengths.items() if n > LONGER.get(file, MAX_LINES)} == {}, (
        "cut them in two along a noun"
    )


def test_functions_are_short() -> None:
    lengths = {
        f"{file}:{one.name}": (one.end_lineno or 0) - one.lineno + 1
        for file in sources(*ROOMS)
        for one in functions(file)
    }
    assert len(lengths) > 1000
    assert LONGER_FUNCTIONS.keys() <= lengths.keys(), "take away what is gone"
    assert {
        name: n
        for name, n in lengths.items()
        if n > LONGER_FUNCTIONS.get(name, MAX_FUNCTION_LINES)
    } == {}, "name a step of theirs"


def covered_by() -> dict[str, str]:
    """Read which test covers a module that has none of its own name."""
    lines = (ROOT / "tests/covered_by.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    table = dict(rows)
    assert len(table) == len(rows), "a module stands twice"
    return table


def own_test(module: str) -> str | None:
    """Find the test of a module's own name: one that reaches it, or the one at its place."""
    folder, _, name = module.replace(".", "/").rpartition("/")
    own = f"tests/{folder}/test_{name}.py"
    named = [file for file in sources("tests") if file.endswith(f"/test_{name}.py")]
    return next((file for file in named if file == own or reaches(file, module)), None)


def reaches(file: str, module: str) -> bool:
    """Whether a test imports a module, or something that its package builds on it."""
    package = module.rpartition(".")[0]
    seen: set[str] = set()
    ahead = set(imports(file) & known_modules().keys())
    while ahead:
        seen |= ahead
        further = {name for one in ahead for name in imports(known_modules()[one])}
        inside = {name for name in further if f"{name}.".startswith(f"{package}.")}
        ahead = (inside & known_modules().keys()) - seen
    return module in seen


@cache
def known_modules() -> dict[str, str]:
    return {module_of(file): file for file in sources(*ROOMS)}


def modules() -> list[str]:
    files = sources("stores", "pipeline", "flows")
    return [module_of(file) for file in files if not file.endswith("__init__.py")]


def test_every_module_has_a_test_of_its_name_or_is_named_with_the_one_that_covers_it() -> None:
    table, every = covered_by(), modules()
    assert len(every) > 250
    assert sorted(table.keys() - set(every)) == [], "take away what is gone"
    without = [name for name in every if name not in table and own_test(name) is None]
    assert without == [], "write a test of its name, or name one in tests/covered_by.txt"
    assert [name for name in table if own_test(name)] == [], "these have their own by now"


@pytest.mark.parametrize(("module", "test"), covered_by().items())
def test_a_test_that_covers_a_module_is_there_and_reaches_it(module: str, test: str) -> None:
    assert (ROOT / "tests" / test).is_file()
    whole_job = test.startswith(("flows/", "faults/", "invariants/", "deploy/"))
    assert whole_job or reaches(f"tests/{test}", module)


def package_of(file: str) -> str:
    folder = file.rpartition("/")[0]
    return folder.replace("/", ".")


def begins_vaguely(one: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    text, returns = ast.get_docstring(one), one.returns
    gives = returns is not None and not (
        isinstance(returns, ast.Constant) and returns.value is None
    )
    return gives and text is not None and text.split()[0] in VAGUE


def test_docstrings_of_what_returns_a_value_begin_with_what_is_done() -> None:
    found = Counter(
        package_of(file)
        for file in sources(*ROOMS)
        for one in functions(file)
        if begins_vaguely(one)
    )
    above = {name: n for name, n in found.items() if n > VAGUE_DOCSTRINGS.get(name, 0)}
    assert above == {}, f"begin with Return, Compute, Read, List, Whether, never with {VAGUE}"


def old_names() -> tuple[dict[str, str], dict[str, str]]:
    """Read the classes and the modules that were renamed, old name first."""
    decisions = (ROOT / "DECISIONS.md").read_text()
    entry = re.search(r"^## \d+\. One vocabulary\n(.*?)(?=^## |\Z)", decisions, re.M | re.S)
    assert entry is not None
    pairs = dict(re.findall(r"`([\w.]+)` -> `([\w.]+)`", entry[1]))
    dotted = {old: new for old, new in pairs.items() if "." in old}
    return {old: new for old, new in pairs.items() if "." not in old}, dotted


def test_no_old_name_of_a_class_is_used_again() -> None:
    classes, _ = old_names()
    assert len(classes) > 150
    defined = {
        f"{file}:{node.name}": classes[node.name]
        for file in sources(*ROOMS)
        for node in ast.walk(parse(file))
        if isinstance(node, ast.ClassDef) and node.name in classes.keys() - FIELDS_WORDS
    }
    assert defined == {}, "take the new name, or another word of the field"


def test_no_old_name_of_a_module_is_used_again() -> None:
    _, dotted = old_names()
    assert len(dotted) > 80
    there = {module_of(file) for file in sources(*ALL)}
    assert there & dotted.keys() == set()
    imported = {name: file for file in sources(*ALL) for name in imports(file)}
    assert {name: imported[name] for name in imported.keys() & dotted.keys()} == {}


def test_every_file_that_the_pages_name_is_there() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    pattern = rf"(?<![\w/])(?:{'|'.join(ALL)})/[\w/]+\.(?:py|md|txt)"
    named = {
        (page.name, name) for page in pages for name in re.findall(pattern, page.read_text())
    }
    assert len(named) > 30
    stands_below_tests = re.compile(r"^(?:\w+/)*test_\w+\.py$")  # docs/reliability.md says so
    missing = [
        (page, name)
        for page, name in sorted(named)
        if not (ROOT / name).exists()
        and not (stands_below_tests.match(name) and (ROOT / "tests" / name).exists())
    ]
    assert missing == []
