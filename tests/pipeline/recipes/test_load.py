import contextlib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.recipes import Recipe, RecipeError, load_recipe, recipe_schema
from tests.make import make_recipe

CODED = "{files: crops.tif, units: '1', share_of: [1], kind: classes}"
DEPLOYED = Path(__file__).parents[3] / "deploy" / "recipes"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()  # a recipe does not look into its archive
    return make_recipe(tmp_path)


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as refused:
        load_recipe(path, overrides=overrides)
    return str(refused.value)


def test_folders_of_a_recipe_are_relative_to_the_recipe(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.archive.root == path.parent / "archive"
    assert recipe.root == path.parent / "run"


def test_folders_given_as_overrides_are_relative_to_the_working_directory(
    path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    recipe = load_recipe(path, overrides=["archive.root=tifs"], root=Path("out"))
    assert recipe.archive.root == elsewhere / "tifs"
    assert recipe.root == elsewhere / "out"


def test_any_value_can_be_overridden(path: Path) -> None:
    recipe = load_recipe(
        path, overrides=["training.epochs=7", "model.hidden=[5, 6]", "covariates.1.of=lonlat"]
    )
    assert recipe.training.epochs == 7
    assert recipe.model.hidden == (5, 6)
    assert recipe.covariates[1].model_dump()["of"] == "lonlat"


def test_an_unknown_key_is_refused_with_the_nearest_known_one(path: Path) -> None:
    message = refusal(path, "training.epohcs=2")
    assert "training: key 'epohcs' is unknown" in message
    assert "did you mean 'epochs'?" in message


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("training.loss={kind: huber, delta: 0}", "training.loss.delta: "),
        ("training.loss=[{kind: mse}, {kind: huber, delta: 0}]", "training.loss.1.delta: "),
        ("training.loss={kind: crps, members: 1}", "training.loss.members: "),
        ("training.loss={kind: quantile, quantiles: [0.1, 0.9]}", "training.loss: "),
        ("training.loss={kind: quantile}", "training.loss.quantiles: "),
    ],
)
def test_a_refusal_names_its_place_as_the_recipe_writes_it(
    path: Path, override: str, place: str
) -> None:
    assert f"\n  {place}" in refusal(path, override)


def test_a_split_whose_parts_overlap_is_refused_with_a_date_that_would_do(path: Path) -> None:
    message = refusal(path, 'split.validation=["2004-06", "2005-12"]')
    assert "split leaks: train ends 2004-12 and validation begins 2004-06" in message
    assert "let validation begin 2005-02 or later" in message


def test_a_split_without_its_gap_is_refused(path: Path) -> None:
    assert "gap=1" in refusal(path, 'split.test=["2006-01", "2007-12"]')


def test_a_part_too_short_for_one_sample_is_refused_with_both_numbers(path: Path) -> None:
    message = refusal(path, 'split.test=["2006-02", "2006-06"]')
    assert "split.test holds 5 frames, but a sample needs 7" in message


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("target.variable=snow", "'snow', which archive.variables does not have"),
        ("target.variable=elevation", "has no date in its files pattern"),
        ("covariates.0.variable=rain", "static covariates have none"),
        ("domain.variable=rain", "changes with time"),
        ("archive.variables.land_fraction.kind=classes", None),
        ("archive.variables.elevation.share_of=[1]", None),
        (f"archive.variables.crops={CODED}", "keep codes apart"),
        ("archive.step=fortnight", "not a calendar step"),
        ("training.leads=5", "more than rollout.leads=4"),
        ("training.epochs=-1", "training.epochs: -1 is less than 1, the least that it may be"),
        ("target.transform=[zscore, zscore]", "names a transform twice"),
        ("grid.crs=EPSG:4326", "exactly one of two ways"),
        ("name=../evil", "not a plain name"),
        ("training.lr=.nan", "finite number"),
        ("rollout=5", "rollout"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_with_a_reason(
    path: Path, override: str, said: str | None
) -> None:
    if said is None:
        load_recipe(path, overrides=[override])
    else:
        assert said in refusal(path, override)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "training.epochs=two",
            "training.epochs: 'two' is no whole number; write e.g. epochs: 12",
        ),
        (
            "training.epochs=2.5",
            "training.epochs: 2.5 is no whole number; write e.g. epochs: 12",
        ),
        ("training.lr=fast", "training.lr: 'fast' is no number; write e.g. lr: 0.0003"),
        (
            "outputs.cog=perhaps",
            "outputs.cog: 'perhaps' is neither true nor false; write e.g. cog: ",
        ),
        ("title=[a]", "title: ['a'] is no text; write e.g. title: Monthly rainfall over Java"),
        ("model.hidden=8", "model.hidden: 8 is no list; write e.g. hidden: [32, 64]"),
        (
            "model.hidden=[8, x]",
            "model.hidden.1: 'x' is no whole number; write e.g. hidden: [32, 64]",
        ),
        ("rollout=5", "rollout: 5 holds no keys; write e.g. rollout: {history: 12, leads: 12}"),
        ("model.norm=nrom", "model.norm: 'nrom' is not 'none'"),
        (
            "covariates=[{kind: static}]",
            "covariates.0.variable: it is missing, and must be written; "
            "write e.g. variable: elevation",
        ),
        (
            "archive.variables.rain={units: mm}",
            "archive.variables.rain.files: it is missing, and must "
            "be written; write e.g. files: ",
        ),
        (
            "covariates=[{kind: statical, variable: rain}]",
            "covariates.0: 'statical' is no 'kind'",
        ),
    ],
)
def test_a_value_of_another_kind_is_refused_with_what_is_wanted_and_an_example(
    path: Path, override: str, said: str
) -> None:
    message = refusal(path, override)
    assert f"\n  {said}" in message
    assert "Input should" not in message


def test_a_covariate_made_of_classes_is_refused(path: Path) -> None:
    message = refusal(path, "archive.variables.elevation.kind=classes")
    assert "'elevation' holds classes, whose codes are no quantities" in message


def test_a_climatology_of_the_future_needs_anomalies(path: Path) -> None:
    message = refusal(path, "covariates=[{kind: step, variable: rain, future: climatology}]")
    assert "put 'anomaly' first" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("just words", "holds no keys"),
        ("name: [", "is not plain YAML"),
        ("name: a\nname: b\n", "'name' stands twice"),
        ("a: &x 1\nb: *x\n", "aliases"),
        ("!!python/object/apply:os.system ['true']", "is not plain YAML"),
    ],
)
def test_a_file_that_is_no_plain_recipe_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    assert said in refusal(path)


def test_a_recipe_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    assert "nothing.yaml cannot be read" in refusal(tmp_path / "nothing.yaml")


def test_dates_in_recipes_stay_text(path: Path) -> None:
    written = yaml.safe_load(path.read_text())
    written["archive"]["start"] = "SOON"
    path.write_text(yaml.safe_dump(written).replace("SOON", "2001-01-01"))
    assert load_recipe(path).archive.start == "2001-01-01"


def test_folders_and_machines_do_not_change_the_fingerprint(path: Path) -> None:
    first = load_recipe(path).fingerprint()
    moved = load_recipe(
        path, overrides=["archive.root=/elsewhere", "compute.workers=5"], root=Path("/other")
    )
    assert moved.fingerprint() == first
    assert load_recipe(path, overrides=["training.seed=1"]).fingerprint() != first


@pytest.mark.parametrize("recipe", sorted(DEPLOYED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_deployed_recipe_is_valid(recipe: Path) -> None:
    assert load_recipe(recipe).name


def test_the_schema_beside_the_recipes_is_that_of_the_code() -> None:
    assert (DEPLOYED / "recipe.schema.json").read_text() == recipe_schema()


def test_the_schema_describes_every_key_of_the_training() -> None:
    training = json.loads(recipe_schema())["$defs"]["TrainingRecipe"]["properties"]
    assert all("description" in key for key in training.values() if "$ref" not in key)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=8), child),
    max_leaves=5,
)


@given(key=st.sampled_from(sorted(Recipe.model_fields)), value=anything)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_malformed_recipe_is_refused_and_never_crashes(
    path: Path, key: str, value: object
) -> None:
    written = yaml.safe_load(path.read_text()) | {key: value}
    broken = path.with_name("broken.yaml")
    broken.write_text(json.dumps(written))
    with contextlib.suppress(RecipeError):  # any other exception fails the test
        load_recipe(broken)


@pytest.mark.parametrize("folder", ["\0", "\ud800\udc00", "~nobody-of-this-name/x"])
def test_a_root_that_cannot_be_a_folder_is_refused(path: Path, folder: str) -> None:
    written = yaml.safe_load(path.read_text()) | {"root": folder}
    broken = path.with_name("broken.yaml")
    broken.write_text(json.dumps(written))
    with pytest.raises(RecipeError, match=r"root=.* cannot name a folder"):
        load_recipe(broken)
