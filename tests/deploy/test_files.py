from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.check import describe_rollout
from flows.schedule import DeployRequest
from pipeline.memory import USABLE_FRACTION, WORKER_BASE_BYTES, WorkerPool
from pipeline.recipes import load_recipe, recipe_schema
from pipeline.recipes.reference import recipe_reference
from pipeline.recipes.schedule import FLOWS
from pipeline.rollout.rollout_plan import plan_rollout

ROOT = Path(__file__).resolve().parents[2]


def read_yaml(name: str) -> Any:
    return yaml.safe_load(files("deploy").joinpath(name).read_text())


def deployments() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_yaml("prefect.yaml")["deployments"]
    return found


def flow_of(deployment: dict[str, Any]) -> Any:
    module, _, name = deployment["entrypoint"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_flow_that_a_recipe_schedules_is_declared_under_its_name() -> None:
    assert [(flow_of(one).name, one["name"]) for one in deployments()] == [
        (flow, flow) for flow in FLOWS
    ]


@pytest.mark.parametrize("deployment", deployments(), ids=FLOWS)
def test_a_deployment_gives_its_flow_parameters_that_it_takes(
    deployment: dict[str, Any],
) -> None:
    flow = flow_of(deployment)
    (product,) = DeployRequest().products()
    given = {**product.parameters, **deployment["parameters"]}
    assert set(flow.validate_parameters(given)) <= set(flow.parameters.properties)


@pytest.mark.parametrize("deployment", deployments(), ids=FLOWS)
def test_deployments_run_one_at_a_time_and_recipes_alone_say_when(
    deployment: dict[str, Any],
) -> None:
    assert not {"schedules", "schedule"} & set(deployment)
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


def test_deployments_have_no_pull_steps() -> None:
    assert read_yaml("prefect.yaml")["pull"] == []


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/recipes").glob("*.yaml")), ids=str)
def test_every_recipe_of_the_house_is_valid(path: Path) -> None:
    assert load_recipe(path).name == path.stem


def test_the_recipe_schema_is_up_to_date() -> None:
    written = (ROOT / "deploy/recipes/recipe.schema.json").read_text()
    assert written == recipe_schema(), "cubecast schema > deploy/recipes/recipe.schema.json"


def test_the_reference_of_all_keys_is_up_to_date_and_every_key_has_a_meaning() -> None:
    written = (ROOT / "docs/recipe.md").read_text()
    assert written == recipe_reference(), "cubecast schema --markdown > docs/recipe.md"
    rows = [line for line in written.splitlines() if re.match(r"\| \**`", line)]
    assert len(rows) >= 150  # not trivial: as many keys as there were when it was written
    assert all(cell.strip() for row in rows for cell in row.split(" | ")[3:])


def test_compose_opens_ports_on_this_machine_only_and_holds_no_password() -> None:
    compose = read_yaml("compose.yaml")
    ports = [port for one in compose["services"].values() for port in one.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    text = files("deploy").joinpath("compose.yaml").read_text()
    secrets = re.findall(r"(?:PASSWORD|AUTH\w*): (.+)", text)
    assert secrets
    assert all(secret.startswith("${") for secret in secrets)


def fill(text: str, given: Mapping[str, str]) -> str:
    """Fill in variables as compose does, or refuse the one that is missing or empty."""

    def value(found: re.Match[str]) -> str:
        name, rule, rest = found.groups()
        if not given.get(name) and rule != ":-":
            raise LookupError(f"{name}: {rest}" if rule == ":?" else f"{name} may be empty")
        return given.get(name) or rest

    return re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text)


def test_compose_starts_nothing_while_a_password_is_empty() -> None:
    text = files("deploy").joinpath("compose.yaml").read_text()
    example = files("deploy").joinpath("compose.env.example").read_text()
    given = dict(re.findall(r"^(\w+)=(.*)$", example, flags=re.MULTILINE))
    assert {name for name, value in given.items() if not value} == {
        *("POSTGRES_PASSWORD", "PREFECT_PASSWORD")
    }
    with pytest.raises(LookupError, match=r"PASSWORD: set it in deploy/\.env"):
        fill(text, given)
    for missing in given:
        others = given | dict.fromkeys(given.keys() - {missing}, "secret")
        with pytest.raises(LookupError, match=f"{missing}: set it in deploy/.env"):
            fill(text, others)
    services = yaml.safe_load(fill(text, dict.fromkeys(given, "secret")))["services"]
    assert services["server"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"] == "admin:secret"
    assert services["worker"]["environment"]["PREFECT_API_AUTH_STRING"] == "admin:secret"


def test_the_workers_of_compose_are_planned_for_what_they_are_started_with() -> None:
    services = read_yaml("compose.yaml")["services"]
    worker, deployed = services["dask-worker"], services["deployments"]["command"]
    command = worker["command"]
    started = dict(zip(command[3::2], command[4::2], strict=False))
    assert (started["--nworkers"], started["--nthreads"]) == ("1", "1")
    limit = worker["deploy"]["resources"]["limits"]["memory"]
    assert started["--memory-limit"] == limit == "${DASK_MEMORY:-4GB}"
    threads = worker["environment"]["OMP_NUM_THREADS"]
    assert f"compute.threads={threads}" in deployed
    four = WorkerPool(2, 4 * 10**9, WORKER_BASE_BYTES, gpus=0)
    rainfall = describe_rollout(
        load_recipe(ROOT / "deploy/recipes/rainfall-java.yaml"), (75, 224)
    )
    assert plan_rollout(rainfall, four).memory.n_bytes < USABLE_FRACTION * four.n_bytes


def test_every_service_that_others_wait_for_says_when_it_is_healthy() -> None:
    services = read_yaml("compose.yaml")["services"]
    waited = {
        name: how["condition"]
        for one in services.values()
        for name, how in one.get("depends_on", {}).items()
    }
    healthy = {name for name, condition in waited.items() if condition == "service_healthy"}
    assert healthy == {"database", "server", "scheduler"}
    assert all("healthcheck" in services[name] for name in healthy)


def test_torch_stands_once_and_without_a_machine() -> None:
    constraints = (ROOT / "constraints.txt").read_text()
    (torch,) = re.findall(r"^torch==(.+)$", constraints, flags=re.MULTILINE)
    assert "+" not in torch
    for name in ("Makefile", "deploy/Dockerfile"):
        assert torch not in (ROOT / name).read_text()


def test_constraints_pin_every_dependency_within_its_bounds() -> None:
    import tomllib
    from itertools import chain

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    bare = [line.partition("#")[0].strip() for line in lines]
    pinned = dict(line.split("==") for line in bare if line)
    versions = {canonicalize_name(name): version for name, version in pinned.items()}
    extras = project["optional-dependencies"]
    wanted = map(Requirement, [*project["dependencies"], *chain(*extras.values())])
    for requirement in wanted:
        if requirement.name == project["name"]:
            assert requirement.extras <= extras.keys()
            continue
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), str(requirement)


def test_every_test_that_the_docs_name_is_there() -> None:
    pages = [path.read_text() for path in (ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"`(test_\w+)`", page)}
    known = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 20
    assert [name for name in sorted(named) if f"def {name}(" not in known] == []


def test_every_fault_of_the_table_names_tests_that_are_there_or_says_why_there_is_none() -> (
    None
):
    page = (ROOT / "docs/reliability.md").read_text()
    rows = re.findall(r"^\| ([A-Z]\S*) \| (.+) \| (.+) \|$", page, flags=re.MULTILINE)
    faults = {name: tests for name, _, tests in rows if name != "ID"}
    assert len(faults) == len(rows) - page.count("| ID |") == 75
    untested = {name for name, tests in faults.items() if tests.startswith("not tested")}
    parts = [name for name, tests in faults.items() if ", in part: " in tests]
    said = f"{75 - len(untested)} of 75 are tested, {len(parts)} of them in part"
    assert said in page
    for name, tests in faults.items():
        named = re.findall(r"`(\S+\.py)::(test_\w+)`", tests)
        assert named or name in untested, name
        for file, test in named:
            assert f"def {test}(" in (ROOT / "tests" / file).read_text(), (name, test)
