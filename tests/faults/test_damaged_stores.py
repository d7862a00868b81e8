"""Seeded tampering of a small published store: every fault is named, none is forecast from."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from flows.evaluate import evaluate
from flows.forecast import forecast
from flows.ingest import ingest
from flows.pictures import draw
from flows.train import train
from flows.verify import verify as verify_and_print
from stores.errors import CorruptError, StoreError
from stores.manifest import list_files
from stores.verify import verify
from tests.make import make_recipe

PLAIN = ["outputs.report=false", "outputs.cog=false"]
INITS = ("2006-10", "2006-11")
NEXT = "2006-12"
REGISTER = ".register.jsonl"
SHAPES = [b"{}", b"[]", b"null", b'"text"', b"[" * 5000, b"NaN", b"9" * 5000, b"\xff"]
SEEDS = range(24)
MANY = range(24, 324)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store with a cube, a model and two issues, and what comes next elsewhere."""
    folder = tmp_path_factory.mktemp("sound")
    recipe = str(make_recipe(folder, training={"epochs": 1}))
    ingest.fn(recipe)
    train.fn(recipe)
    for init in INITS:
        forecast.fn(recipe, ["outputs.report=false"], init=init)
    assert verify(folder / "run") == []
    shutil.copytree(folder, folder / "later")
    forecast.fn(str(folder / "later/recipe.yaml"), PLAIN, init=NEXT)
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """Return a copy of a store that is sound, with its recipe and archive."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("later"))
    return tmp_path


def values_of(issue: Path) -> np.ndarray:
    with xr.open_zarr(issue / "forecast.zarr") as opened:
        return np.asarray(opened.rain.values)


def cut(path: Path, _: Path, dice: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])


def flip(path: Path, _: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(7)
    path.write_bytes(content)


def zero(path: Path, _: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    begin = dice.randrange(len(content))
    content[begin:] = bytes(len(content) - begin)
    path.write_bytes(content)


def delete(path: Path, _: Path, __: random.Random) -> None:
    path.unlink()


def copy_over(path: Path, other: Path, _: random.Random) -> None:
    shutil.copy(other, path)


def rename(path: Path, _: Path, __: random.Random) -> None:
    path.rename(path.with_name(f"{path.name}.old"))


def swap(path: Path, other: Path, _: random.Random) -> None:
    backup = path.with_name("aside")
    path.rename(backup)
    other.rename(path)
    backup.rename(other)


def malform(path: Path, _: Path, dice: random.Random) -> None:
    """Write JSON of a wrong shape where there was JSON, and anywhere else too."""
    path.write_bytes(dice.choice(SHAPES))


TAMPERINGS = [cut, flip, zero, delete, copy_over, rename, swap, malform]


def is_covered(name: str) -> bool:
    """Return whether a file is part of what was ingested, trained or published."""
    own = name.startswith(("cube.zarr/", "cube.inputs/", "models/", "issues/"))
    is_spare = name.startswith("cube.zarr/") and name.endswith("/zarr.json")  # nobody reads it
    is_root = name == "cube.zarr/zarr.json"
    if name == "cube.zarr/spatial_ref/c":
        return False  # its one value is what stands for a chunk that is gone
    return (own and (is_root or not is_spare)) or name in ("catalog.json", REGISTER)


def tamper(root: Path, seed: int) -> str:
    """Do one thing to a file, with another one; give the first one's name."""
    dice = random.Random(seed)
    names = [name for name in list_files(root) if is_covered(name)]
    kinds = ("cube.zarr/rain/c/8", "cube", "models/", "issues/", "")
    kind = kinds[seed % len(kinds)]
    name = dice.choice([name for name in names if name.startswith(kind)])
    content = (root / name).read_bytes()
    unlike = [n for n in names if n.startswith(kind) and (root / n).read_bytes() != content]
    act = TAMPERINGS[seed % len(TAMPERINGS)]
    act(root / name, root / dice.choice(unlike), dice)
    return name


def is_named(name: str, findings: list[str]) -> bool:
    """Return whether one of the findings is of a file, by its path or that of its array."""
    *_, last = name.split("/")
    words = name.split("/")[1] if name.startswith("cube.zarr/") else last
    return any(name in finding or words in finding for finding in findings)


def check_forecast(store: Path, made: Path) -> None:
    """Forecast what comes next: it is right, or refused in a sentence."""
    try:
        issue = Path(forecast.fn(str(store / "recipe.yaml"), PLAIN, init=NEXT))
    except (StoreError, OSError) as refused:
        message = str(refused)
    else:
        expected = values_of(made / "later/run/issues/small-rain" / NEXT)
        np.testing.assert_array_equal(values_of(issue), expected)
        return
    assert 20 < len(message) < 2000


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_tampered_with_is_named(seed: int, store: Path) -> None:
    name = tamper(store / "run", seed)
    findings = verify(store / "run")
    assert is_named(name, findings), (name, findings)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_what_was_tampered_with_is_named_and_never_forecast_from(
    seed: int, store: Path, made: Path
) -> None:
    name = tamper(store / "run", seed)
    if name.endswith(".current") and not (store / "run" / name).exists():
        with pytest.raises(ValueError, match="train first"):  # a model need not be current
            forecast.fn(str(store / "recipe.yaml"), PLAIN, init=NEXT)
        return
    findings = verify(store / "run")
    assert is_named(name, findings), (name, findings)
    check_forecast(store, made)
    findings = verify(store / "run")  # what was published since has healed nothing silently
    if name == REGISTER:  # one that was lost is begun anew, and knows nothing of before
        assert is_named(name, findings) or "is not in the register" in "".join(findings)
    else:
        assert name.endswith("catalog.json") or is_named(name, findings), (name, findings)


def test_a_store_that_nobody_touched_is_sound_and_forecasts_what_is_expected(
    store: Path, made: Path
) -> None:
    assert verify(store / "run") == []
    check_forecast(store, made)
    assert verify(store / "run") == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cube.zarr/rain/c/82", "cube.zarr/rain/c/70"),
        ("cube.zarr/elevation/c", "cube.zarr/land_fraction/c"),
        ("issues/small-rain/2006-10", "issues/small-rain/2006-11"),
        ("issues/small-rain/2006-10/cog", "issues/small-rain/2006-11/cog"),
        ("issues/small-rain", "issues/large-rain"),
        ("models/small-rain-*", "models/small-rain-000000000000"),
        ("cube.inputs", "cube.outputs"),
    ],
)
def test_folders_that_were_swapped_or_renamed_are_named_and_never_forecast_from(
    first: str, second: str, store: Path, made: Path
) -> None:
    root = store / "run"
    (folder,) = root.glob(first)
    backup = root / "aside"
    folder.rename(backup)
    if (root / second).exists():
        (root / second).rename(folder)
    backup.rename(root / second)
    before = verify(root)
    assert before != []
    check_forecast(store, made)
    assert set(before) - {f for f in before if "catalog.json" in f} <= set(verify(root))


def test_nothing_is_learned_scored_or_drawn_from_a_month_at_the_place_of_another(
    store: Path,
) -> None:
    recipe = str(store / "recipe.yaml")
    chunks = store / "run/cube.zarr/rain/c"
    shutil.copy(chunks / "70/0/0", chunks / "82/0/0")
    with pytest.raises(CorruptError, match=r"this flow would read it: rain/c/82/0/0 "):
        evaluate.fn(recipe, PLAIN)
    with pytest.raises(CorruptError, match=r"this forecast would read it: rain/c/82/0/0 "):
        forecast.fn(recipe, PLAIN, init=NEXT)
    issue = store / "run/issues/small-rain/2006-10"
    with pytest.raises(CorruptError, match=r"a picture would read it: rain/c/82/0/0 "):
        draw([issue], None, 80)
    assert not (store / "run/pictures").exists()
    shutil.copy(chunks / "30/0/0", chunks / "42/0/0")
    with pytest.raises(CorruptError, match=r"this training would read it: rain/c/42/0/0 "):
        train.fn(recipe, PLAIN)


@pytest.mark.parametrize("name", ["forecast.zarr/rain/c/2/0/0", "forecast.zarr/zarr.json"])
def test_nothing_is_drawn_of_a_damaged_issue(name: str, store: Path) -> None:
    issue = store / "run/issues/small-rain/2006-10"
    malform(issue / name, issue, random.Random(0))
    with pytest.raises(CorruptError, match=rf"is damaged \({name} .* was never forecast"):
        draw([issue], None, 80)
    with pytest.raises(CorruptError, match="holds no issue, so there is nothing to draw"):
        draw([store], None, 80)


def test_the_command_says_what_it_read_and_what_it_let_count(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = store / "run"
    assert verify_and_print([root], sample=0.1)
    assert "sound, 10 % of its files read" in capsys.readouterr().out
    shutil.rmtree(root / "issues/small-rain/2006-10")
    assert not verify_and_print([root])
    assert "2006-10 is missing" in capsys.readouterr().out
    assert verify_and_print([root], accept=True)
    assert "2006-10: is gone, and counts as removed" in capsys.readouterr().out
