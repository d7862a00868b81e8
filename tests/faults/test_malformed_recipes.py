"""Whatever stands in a recipe or behind an option: accepted and sensible, or a sentence."""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli import main
from flows.error_messages import describe_error, is_user_error
from flows.resolve import check_init
from pipeline.recipes import Recipe, RecipeError, load_recipe, resolve_dates
from pipeline.recipes.sweep import plan_sweep
from pipeline.specs import build_training_spec
from stores.times import Step, parse_time
from tests.make import make_recipe
from tests.make_faults import list_places, pick, put, take_away, tree, within_bounds

Captured = pytest.CaptureFixture[str]

DEPLOYED = Path(__file__).parents[2] / "deploy" / "recipes"
MARK = "@value@"
# What stands in place of a value: plain YAML, a value a line.
VALUES = (
    *(Path(__file__).parent / "values.txt").read_text(encoding="utf-8").splitlines(),
    *("", "9" * 400, "9" * 5000, f"'{'x' * 900}'", f"'{'x ' * 9000}'"),
    *("[" * 15 + "]" * 15, "[" * 60 + "]" * 60, "{a: " * 18 + "1" + "}" * 18),
    f"[{', '.join(['1'] * 3000)}]",
)
_INITS = (
    *("10000-01", "2006-12-31T23:00+07:00", "now", "today", ""),
    *(
        "-1",
        "1e9",
        "2006-00",
        "2006-12.r2",
        "\0",
        "\udcff",
        "2" * 5000,
        "NaT",
    ),
)
_SETS = (
    *(
        "training.epochs=[1",
        "training.epochs={",
        "training.epochs=*a",
        "=",
        "a",
        "",
        ".",
        "..=1",
    ),
    *("training..epochs=1", "training.epochs.x=1", "covariates.-1=1", "covariates.\u00b2.of=x"),
    *(
        "covariates.99999999999.of=x",
        "covariates.x=1",
        "a." * 5000 + "b=1",
        "split.gap=2147483648",
    ),
    *(
        "model.hidden=!!map [8]",
        "title=!!timestamp x",
        "name=\0",
        "title=\udcff",
        "root=\udcff",
    ),
    *("training.epochs=" + "[" * 3000, "x=" + "y" * 300_000, "training.seed=4294967296"),
)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("bases")
    (folder / "archive").mkdir()  # a recipe does not look into its archive
    files = [make_recipe(folder), *sorted(DEPLOYED.glob("*.yaml"))]
    return [yaml.safe_load(file.read_text()) for file in files]


def malform(bases: list[dict[str, Any]], number: int) -> str:
    """Write a recipe with one to three mistakes, the same ones for the same number."""
    rng = random.Random(number)
    written = deepcopy(rng.choice(bases))
    values = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        key_path = pick(rng, list_places(written))
        how = rng.random()
        if how < 0.1:
            take_away(written, key_path)
        elif how < 0.2 and isinstance(key_path[-1], str):
            put(
                written,
                (*key_path[:-1], rng.choice(["x", "time", "\u00e9", key_path[-1]])),
                MARK,
            )
        elif how < 0.3:
            put(written, key_path, deepcopy(rng.choice(bases)))
        else:
            put(written, key_path, MARK)
        values.append(rng.choice(VALUES))
    text = json.dumps(written, ensure_ascii=False, default=str)
    for value in values:
        text = text.replace(json.dumps(MARK), value, 1)
    return text


def look_at(recipe: Recipe) -> None:
    """Use a recipe as flows do; fails where one was accepted that cannot be meant."""
    text = json.dumps(recipe.model_dump(mode="json"), allow_nan=False)
    text.encode()
    assert Recipe.model_validate(json.loads(text)).fingerprint() == recipe.fingerprint()
    assert build_training_spec(recipe).fit.stack.names[0] == recipe.target.variable
    for cron in recipe.schedule.cron_by_flow(recipe.step).values():
        assert cron is None or len(cron.split()) == 5
    dated = resolve_dates(recipe, parse_time("2018-12"))
    for part in dated.split.parts:
        assert dated.split.to_split().label(part, dated.step)


def malformed_recipes_end_well(
    bases: list[dict[str, Any]], folder: Path, numbers: range
) -> tuple[int, int]:
    """Load many recipes; return how many were refused, and how many accepted."""
    path = folder / "recipe.yaml"
    refused = 0
    for number in numbers:
        text = malform(bases, number)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        before = tree(folder)
        try:
            with within_bounds():
                look_at(load_recipe(path))
        except RecipeError as error:
            refused += 1
            message = str(error)
            assert message.isprintable() or "\n" in message, number
            assert len(message) < 6000, (number, message)
        except BaseException as error:
            pytest.fail(f"recipe {number} ended with {error!r}:\n{text[:3000]}")
        assert tree(folder) == before
    return refused, len(numbers) - refused


@pytest.mark.parametrize("batch", range(6))
def test_a_malformed_recipe_is_refused_in_a_sentence_or_can_be_used(
    bases: list[dict[str, Any]], tmp_path: Path, batch: int
) -> None:
    refused, accepted = malformed_recipes_end_well(
        bases, tmp_path, range(50 * batch, 50 * batch + 50)
    )
    assert refused > 20
    assert accepted > 0


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(10))
def test_three_thousand_malformed_recipes_end_well(
    bases: list[dict[str, Any]], tmp_path: Path, batch: int
) -> None:
    malformed_recipes_end_well(bases, tmp_path, range(300 * (batch + 1), 300 * (batch + 2)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    return make_recipe(tmp_path)


def refusal(path: Path, *overrides: str) -> str:
    with within_bounds(), pytest.raises(RecipeError) as refused:
        load_recipe(path, overrides=overrides)
    return str(refused.value)


@pytest.mark.parametrize(
    "name", ["time", "x", "y", "spatial_ref", "lead", "init_time", "domain"]
)
def test_a_variable_with_the_name_of_a_coordinate_is_refused(path: Path, name: str) -> None:
    message = refusal(path, f"archive.variables.{name}={{files: a.tif, units: m}}")
    assert f"archive.variables: variable name {name!r} is that of a coordinate" in message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("target.maximum=0", "target: minimum=0 is not below maximum=0"),
        ("target.maximum=-1", "target: minimum=0 is not below maximum=-1"),
        ("archive.variables.rain.valid_range=[9, 1]", "ends before it begins"),
        ("split.gap=2147483648", "split.gap: Input should be less than or equal to 10000"),
        ("rollout.leads=96000", "rollout.leads: Input should be less than or equal to 10000"),
        ("training.seed=4294967296", "training.seed: Input should be less than or equal to"),
        ("model.hidden=[100000]", "model.hidden.0: Input should be less than or equal to 4096"),
        ("archive.start=now", "archive: start: time='now' is not a date"),
        ("archive.end=2000-13", "archive: end: time='2000-13' is not a date"),
        ("archive={root: a, variables: {}, start: '2001', end: '2000'}", "variables"),
        ("archive.step=100000 days", "is not a calendar step"),
        ("split.train=['-1000000 years', newest]", "'-1000000 years' is not a date"),
        ("archive.variables.rain.files='rain/{time:%Q}.tif'", "by %Q, which is not understood"),
        ("archive.variables.rain.files='rain/{time:%m}.tif'", "but not by year"),
        ("archive.variables.rain.files=../{time:%Y%m}", "leads out of the archive"),
        ("archive.variables.rain.files='*a*a*a*a*a*a*a*a*b{time:%Y%m}'", "more than 8 '*'"),
        ('title="\\ud800"', "title: '\\ud800' holds the character '\\ud800'"),
        ('archive.variables.rain.units="\\ud800"', "archive.variables.rain.units: "),
        ("title=" + "x" * 900, "title: String should have at most 200 characters"),
        ("archive.variables.rain.long_name=" + "x" * 900, "at most 200 characters"),
        ("archive.variables.rain.units=" + "m" * 900, "at most 100 characters"),
        ("grid={crs: 'EPSG:4326', shape: [3, 3], transform: [0, 0, 0, 0, -1, 0]}", "no area"),
        (
            "grid={crs: 'EPSG:4326', shape: [3, 3], transform: [1, 1, 0, 0, -1, 0]}",
            "is rotated",
        ),
        ("grid={crs: 'EPSG:4326', shape: [0, 3], transform: [1, 0, 0, 0, -1, 0]}", "shape.0"),
        ("training.epochs=yes", "training.epochs: "),
        ("training.epochs=true", "training: epochs"),
        ("training.epochs=1:30", "training.epochs: "),
        ("training.epochs=0x1F", "training.epochs: "),
        ("model.hidden=!!map [8]", "tags (tag:yaml.org,2002:map) are not allowed"),
        ("title=!!timestamp x", "tags (tag:yaml.org,2002:timestamp) are not allowed"),
        ("training.epochs=[1", "is not plain YAML"),
        ("training.lr=.inf", "training.lr: Input should be a finite number"),
        ("training.epochs=" + "[" * 30 + "]" * 30, "nested more than 20 deep"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(
    path: Path, override: str, message: str
) -> None:
    assert message in refusal(path, override)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("010", 10), ("1_000", 1000), ("+7", 7), ("7", 7), ("'7'", 7), ("1e2", 100)],
)
def test_numbers_are_read_as_people_read_them(path: Path, written: str, meant: int) -> None:
    assert load_recipe(path, overrides=[f"training.epochs={written}"]).training.epochs == meant


def test_truths_of_yaml_1_1_are_truths_where_one_is_asked(path: Path) -> None:
    for word, meant in (("yes", True), ("off", False), ("true", True)):
        recipe = load_recipe(path, overrides=[f"outputs.cog={word}"])
        assert recipe.outputs.cog is meant


def test_steps_that_make_too_many_frames_are_counted_before_they_are_listed(path: Path) -> None:
    parts = "train: ['0001', '9999'], validation: ['0001', '0002'], test: ['0001', '0002']"
    message = refusal(
        path,
        "archive.step=minute",
        f"split={{{parts}, place: {{block_px: 30, correlation_px: 1}}}}",
        "archive.variables.rain.files=r{time:%Y%m%d%H%M}.tif",
    )
    assert "split.train: " in message
    assert "frames, one every minute, more than the 10000000 of a series" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no keys"),
        (b"null", "holds no keys"),
        (b"--- 1\n--- 2\n", "is not plain YAML"),
        (b"\xff\xfen\x00", "byte 0 is no UTF-8; save it as UTF-8"),
        (b"name: a\nname: b\n", "key 'name' stands twice below line 1"),
        (b"a: &a [1]\nb: *a\n", "aliases (*name) are not allowed"),
        (b"- " * 2000, "nested more than 20 deep"),
        ("\n".join(f"k{n}: {n}" for n in range(15_000)).encode(), "more than 10000 keys"),
        (
            "\n".join(f"key_{n}: {n}" for n in range(70_000)).encode(),
            "recipes have 200000 at most",
        ),
        (b"x: " + b"a" * 50_000, "x: a text of 50000 characters"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_file_that_is_no_recipe_is_refused_at_once(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    assert message in refusal(path)


def test_a_folder_or_a_pipe_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").mkdir()
    assert "it is a folder" in refusal(tmp_path / "a.yaml")
    os.mkfifo(tmp_path / "b.yaml")
    assert "it is no file" in refusal(tmp_path / "b.yaml")


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command line in this process; what it refuses ends before it does anything."""
    monkeypatch.setattr(sys, "argv", ["cubecast", *words])
    with within_bounds(), pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("override", _SETS, ids=lambda text: ascii(text[:20]))
def test_a_malformed_override_is_refused_in_a_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, override: str
) -> None:
    assert command(monkeypatch, "check", str(path), "--set", override) == 1
    message = capsys.readouterr().err
    assert "refused: " in message
    assert "Traceback" not in message
    assert len(message) < 2000


@pytest.mark.parametrize(
    "text",
    ["model.hidden=[8", "a=*x,*y", "a=!!map [1],2", "=1,2", "a=]: [", "a=" + "[" * 9999, "a"],
)
def test_a_malformed_sweep_is_refused_in_a_sentence(text: str) -> None:
    with within_bounds(), pytest.raises(RecipeError, match="--sweep"):
        plan_sweep([text])


@pytest.mark.parametrize("init", _INITS, ids=lambda text: ascii(text[:20]))
def test_a_malformed_init_is_refused_before_heavy_imports(init: str) -> None:
    with pytest.raises(ValueError, match="--init time=") as refused:
        check_init(init)
    assert is_user_error(refused.value)


@pytest.mark.parametrize("init", ["20061231", "2006-12", "2006", "20190610T000530"])
def test_labels_of_issues_are_inits(init: str) -> None:
    check_init(init)


def test_a_command_says_of_an_init_that_is_no_date_how_to_write_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert command(monkeypatch, "forecast", str(path), "--init", "10000-01") == 1
    assert "refused: --init time='10000-01' is not a date" in capsys.readouterr().err


def test_an_error_that_nobody_foresaw_names_the_file_with_its_traceback(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("flows.resolve.load_recipe", lambda *_, **__: 1 // 0)
    assert command(monkeypatch, "check", str(path)) == 1
    message = capsys.readouterr().err
    (report,) = tmp_path.glob("cubecast-bug-*.txt")
    assert "this is a bug of cubecast (ZeroDivisionError: integer division" in message
    assert f"Please report it with {report}" in message
    assert "Traceback" not in message
    assert "flows/resolve.py" in report.read_text()
    assert f"command: cubecast check {path}" in report.read_text()
    monkeypatch.setattr(sys, "argv", ["cubecast", "check", str(path), "--debug"])
    with pytest.raises(ZeroDivisionError):
        main()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            MemoryError("Unable to allocate 31. GiB"),
            "memory is full (Unable to allocate 31. GiB)",
        ),
        (
            PermissionError(13, "Permission denied", "/x"),
            "'/x' cannot be used: Permission denied",
        ),
        (OSError(28, "No space left on device", "/x"), "free some space"),
    ],
    ids=lambda value: str(value)[:15],
)
def test_what_the_system_refuses_is_said_with_a_way_out(error: Exception, message: str) -> None:
    assert message in describe_error(error)


def test_only_what_we_raise_ourselves_is_called_a_refusal() -> None:
    with pytest.raises(ValueError, match="is not a calendar step") as ours:
        Step.parse("fortnight")
    assert is_user_error(ours.value)
    with pytest.raises(AttributeError) as slip:
        Step.parse("month").label(None)  # type: ignore[arg-type]
    assert not is_user_error(slip.value)
    with pytest.raises(ValueError, match="invalid literal") as foreign:
        int("x")
    assert not is_user_error(foreign.value)
