"""Who computes: local workers, and those of a scheduler that is asked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import dask.config
import pytest
from distributed import LocalCluster, get_worker
from distributed.security import Security

from flows import runtime, workers
from flows.forecast import forecast
from flows.ingest import ingest
from flows.plan import plan
from flows.resolve import open_recipe
from flows.runtime import n_threads, open_executor
from flows.steps.cube import estimate_seconds, plan_cube, take_inventory
from flows.workers import (
    WORKER_START_S,
    connect,
    pick_compute,
    query_scheduler,
    resolve_workers,
)
from pipeline import dask_executor
from pipeline.memory import (
    USABLE_FRACTION,
    WORKER_BASE_BYTES,
    MemoryPlan,
    WorkerPool,
    rss_bytes,
)
from pipeline.recipes import ComputeRecipe
from stores.manifest import read_manifest
from tests.make import make_recipe

_START_S = 60.0
_KEPT: list[bytes] = []


def start(what: str, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.{what}", *options]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


@contextmanager
def scheduler_in(folder: Path, *workers: Sequence[str]) -> Iterator[str]:
    """Start a scheduler and workers as processes of their own; give the address."""
    file = folder / "scheduler.json"
    here = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    processes = [start("dask_scheduler", "--port", "0", *here)]
    try:
        address = _read_address(file)
        processes += [start("dask_worker", *options, *here) for options in workers]
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def _read_address(file: Path) -> str:
    """Wait until the file is there, and whole."""
    end = time.monotonic() + _START_S
    while True:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            return str(json.loads(file.read_text())["address"])
        assert time.monotonic() < end, "the scheduler did not start"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler with a worker of 2 GB, and one of 1.2 GB with two threads and a GPU."""
    strong = ["--no-nanny", "--nthreads", "1", "--memory-limit", "2GB"]
    weak = [*strong[:1], "--nthreads", "2", "--memory-limit", "1.2GB", "--resources", "GPU=1"]
    with scheduler_in(tmp_path_factory.mktemp("cluster"), strong, weak) as address:
        with connect(address) as client:
            client.wait_for_workers(2, timeout=_START_S)
        yield address


def test_a_scheduler_is_asked_for_its_workers_and_the_weakest_of_them_decides(
    scheduler: str,
) -> None:
    found = resolve_workers(ComputeRecipe(scheduler=scheduler, workers=2))
    assert found == WorkerPool(2, 1_200_000_000, WORKER_BASE_BYTES, 2, scheduler, gpus=1)
    assert str(found) == f"2 workers of {scheduler}, 1.20 GB each, 2 threads"
    assert found.task_bytes_available == (int(USABLE_FRACTION * 1.2e9) - WORKER_BASE_BYTES) // 2


def test_a_recipe_may_take_less_of_a_cluster_than_there_is(scheduler: str) -> None:
    capped = resolve_workers(ComputeRecipe(scheduler=scheduler, memory_gb=1.1))
    assert capped.n_bytes == 1_100_000_000


def test_a_plan_for_a_cluster_says_whose_memory_it_was_made_for(
    scheduler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(make_recipe(tmp_path, compute={"scheduler": scheduler, "workers": 2}))
    plan(recipe, [], None, (900, 900))
    said = capsys.readouterr().out
    assert f"2 workers of {scheduler}, 1.20 GB each, 2 threads" in said
    with pytest.raises(ValueError, match=r"start them with 'dask worker --memory-limit"):
        plan(recipe, ["compute.memory_gb=0.5"], None, None)


def test_a_scheduler_without_workers_is_refused_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_JOIN_S", 0.3)
    with scheduler_in(tmp_path) as address:
        compute = ComputeRecipe(scheduler=address)
        with pytest.raises(ConnectionError, match=r"has no worker after 0\.3 s.*dask worker"):
            resolve_workers(compute)


class Asked:
    """What a scheduler says of its workers."""

    def __init__(self, **worker: object) -> None:
        known = {"memory_limit": 0, "nthreads": 1, "resources": {}}
        self._workers = {"tcp://a": known | worker}

    def scheduler_info(self, n_workers: int) -> dict[str, object]:
        assert n_workers == -1
        return {"workers": self._workers}


def test_a_worker_without_a_limit_needs_one_from_the_recipe() -> None:
    client = Asked()
    with pytest.raises(ValueError, match=r"has no memory limit.*compute\.memory_gb"):
        query_scheduler(client, ComputeRecipe(scheduler="tcp://s"))  # type: ignore[arg-type]
    stated = ComputeRecipe(scheduler="tcp://s", memory_gb=4)
    assert query_scheduler(client, stated).n_bytes == 4_000_000_000  # type: ignore[arg-type]


def test_workers_too_small_for_themselves_are_refused_before_any_starts(
    tmp_path: Path,
) -> None:
    small = ["compute.workers=2", "compute.memory_gb=0.3"]
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"never take a task; set compute\.memory_gb=0\.7"):
        ingest.fn(str(make_recipe(tmp_path)), small)
    assert time.monotonic() - began < _START_S
    assert not (tmp_path / "run" / "cube.zarr").exists()


def test_a_refusal_names_the_memory_or_the_number_of_workers_that_would_do() -> None:
    four = WorkerPool(4, 10**9, base_bytes=4 * 10**8)
    tile = MemoryPlan("a tile of 64 px", 10**9, 4 * 10**8)
    with pytest.raises(ValueError, match=r"memory_gb=1\.8 or compute\.workers=2") as refused:
        tile.check(four)
    assert "needs 1.00 GB beside the 400 MB of a worker itself" in str(refused.value)
    tile.check(WorkerPool(1, int(1.8e9), base_bytes=4 * 10**8))


def fill_up(_: int) -> int:
    """Keep so much of the worker's limit that Dask hands it nothing more."""
    limit = int(get_worker().memory_manager.memory_limit or 0)
    _KEPT.append(b"x" * int(0.87 * limit - rss_bytes()))
    return limit


@pytest.mark.slow
def test_workers_that_hold_too_much_for_another_task_end_the_run_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dask_executor, "_POLL_S", 0.3)
    monkeypatch.setattr(runtime, "LOCAL_STALL_S", 1.0)
    compute = ComputeRecipe(workers=1, threads=1, memory_gb=0.8, device="cpu")
    with open_executor(compute) as executor:
        assert list(executor.map(fill_up, [0])) == [800_000_000]
        with pytest.raises(RuntimeError, match=r"all 1 workers hold.*wait for ever"):
            list(executor.map(abs, range(-1000, 0)))


@pytest.mark.slow
def test_workers_that_are_killed_as_they_start_end_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "WORKER_BASE_BYTES", 0)  # else it would be refused
    compute = ComputeRecipe(workers=1, threads=1, memory_gb=0.15, device="cpu")
    with (
        pytest.raises((ConnectionError, RuntimeError), match=r"compute\.memory_gb"),
        open_executor(compute) as executor,
    ):
        list(executor.map(abs, range(-4, 0)))


def test_the_most_that_a_worker_held_comes_with_its_results() -> None:
    compute = ComputeRecipe(workers=1, threads=1, memory_gb=2, device="cpu")

    def fill(n_bytes: int) -> int:  # inside: a worker would import this module, and Prefect
        return len(b"x" * n_bytes)

    with open_executor(compute) as executor:
        assert list(executor.map(fill, [1])) == [1]
        idle = executor.pop_peak_bytes()
        assert 0 < idle < WORKER_BASE_BYTES
        assert list(executor.map_unordered(fill, [3 * 10**8])) == [(3 * 10**8, 3 * 10**8)]
        assert executor.pop_peak_bytes() - idle == pytest.approx(3 * 10**8, rel=0.1)
        assert executor.pop_peak_bytes() == 0


def test_work_that_takes_less_than_starting_workers_stays_in_this_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    stated = ComputeRecipe(workers=4, threads=3)
    assert pick_compute(stated, 60.0) == stated
    here = pick_compute(stated, 0.4)
    assert (here.workers, here.threads) == (0, 3)  # threads are part of what a number is
    assert (
        "about 0.4 s of work, and starting 4 workers takes 5 s: none is started" in caplog.text
    )
    planned = ComputeRecipe(workers=2)
    assert n_threads(pick_compute(planned, 0.0)) == n_threads(planned)
    elsewhere = ComputeRecipe(workers=4, scheduler="tcp://10.0.0.1:8786")
    assert pick_compute(elsewhere, 0.0) == elsewhere


def test_an_ingest_with_nothing_new_and_a_small_forecast_start_no_workers(store: Path) -> None:
    recipe, asked = str(store / "recipe.yaml"), ["compute.workers=2", "compute.threads=1"]
    own = Path(forecast.fn(recipe, init="2006-12"))
    digests = read_manifest(own)["files"]
    shutil.rmtree(store / "run/issues")
    with no_cluster():
        ingest.fn(recipe, asked)
        forecast.fn(recipe, asked, init="2006-12")
    assert read_manifest(own)["files"] == digests


@contextmanager
def no_cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.delattr("flows.runtime.LocalCluster")
        yield


@pytest.fixture(scope="module")
def encrypted() -> Iterator[tuple[str, Security]]:
    """Start a scheduler and a worker that talk to nobody without a certificate."""
    security = Security.temporary()
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        memory_limit=2 * 10**9,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        protocol="tls://",
        security=security,
    ) as cluster:
        yield cluster.scheduler_address, security


def settings_of(security: Security) -> dict[str, object]:
    """Spell certificates as Dask's settings name them."""
    tls, client = "distributed.comm.tls", security.get_tls_config_for_role("client")
    return {
        f"{tls}.ca-file": client["ca_file"],
        f"{tls}.client.cert": client["cert"],
        f"{tls}.client.key": client["key"],
        "distributed.comm.require-encryption": True,
    }


def test_a_scheduler_that_asks_for_certificates_is_reached_with_those_of_dasks_settings(
    encrypted: tuple[str, Security],
) -> None:
    address, security = encrypted
    with dask.config.set(settings_of(security)):
        assert resolve_workers(ComputeRecipe(scheduler=address)).n_workers == 1
        with connect(address) as client:
            assert client.submit(sum, [1, 2]).result() == 3


def test_who_has_no_certificate_or_another_is_refused_in_a_sentence_at_once(
    encrypted: tuple[str, Security],
) -> None:
    address, security = encrypted
    began = time.monotonic()
    with pytest.raises(ConnectionError, match=r"settings for TLS: .* no authority .*docs/oper"):
        connect(address)
    plain = address.replace("tls://", "tcp://")
    with (
        dask.config.set(settings_of(security)),
        pytest.raises(ConnectionError, match="require-encryption is set, and this address"),
    ):
        connect(plain)
    with (
        dask.config.set(settings_of(Security.temporary())),
        pytest.raises(ConnectionError, match=r"did not answer .*certificate does not match"),
    ):
        connect(address)
    assert time.monotonic() - began < 10


def test_an_ingest_of_large_rasters_onto_a_coarse_grid_is_no_little_work(
    tmp_path: Path,
) -> None:
    recipe = open_recipe(str(make_recipe(tmp_path)), None, None)
    plan = plan_cube(recipe, take_inventory(recipe))
    (rain, *others) = plan.variables
    large = replace(rain, source_px=36_000_000)
    assert estimate_seconds(plan) < WORKER_START_S
    assert estimate_seconds(replace(plan, variables=(large, *others))) > 10 * WORKER_START_S
