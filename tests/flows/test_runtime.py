from __future__ import annotations

import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows import workers
from flows.runtime import (
    GpuResource,
    describe_compute,
    n_threads,
    open_executor,
)
from flows.worker_supervision import WorkerSupervisor
from flows.workers import worker_bytes
from pipeline.dask_executor import DaskExecutor
from pipeline.executors import SerialExecutor
from pipeline.recipes import ComputeRecipe


@pytest.fixture(scope="module")
def two() -> Iterator[DaskExecutor]:
    with open_executor(ComputeRecipe(workers=2, threads=1, device="cpu")) as executor:
        assert isinstance(executor, DaskExecutor)
        yield executor


def look(_: int) -> dict[str, Any]:
    import torch

    time.sleep(0.2)  # long enough that both workers get some
    names = ("OMP_NUM_THREADS", "ZARR_ASYNC__CONCURRENCY")
    settings = {name: os.environ.get(name) for name in names}
    return settings | {"pid": os.getpid(), "threads": torch.get_num_threads()}


def die_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return marker.name


def test_no_workers_compute_in_this_process() -> None:
    with open_executor(ComputeRecipe(workers=0, threads=1)) as executor:
        assert isinstance(executor, SerialExecutor)
        assert list(executor.map(lambda item: os.getpid(), range(2))) == [os.getpid()] * 2


def test_local_workers_have_the_threads_that_were_asked_for_and_survive_a_kill(
    tmp_path: Path,
) -> None:
    with open_executor(ComputeRecipe(workers=2, threads=1)) as executor:
        seen = list(executor.map(look, range(6)))
        assert len({one["pid"] for one in seen}) == 2
        assert os.getpid() not in {one["pid"] for one in seen}
        assert {one["threads"] for one in seen} == {1}
        assert {one["OMP_NUM_THREADS"] for one in seen} == {"1"}
        assert {one["ZARR_ASYNC__CONCURRENCY"] for one in seen} == {"4"}
        assert _listens_only_here()
        markers = [tmp_path / str(index) for index in range(2)]
        assert list(executor.map(die_once, markers)) == ["0", "1"]


def count_faults(n_bytes: int) -> int:
    """Count the pages that the kernel had to give for some bytes, time after time."""
    len(b"x" * n_bytes)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _i in range(8):
        len(b"x" * n_bytes)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators differ")
def test_workers_keep_the_memory_that_they_freed(two: DaskExecutor) -> None:
    sizes = [8_000_000, 100_000_000]  # the second is more than a thread's own arena holds
    for n_bytes, faults in zip(sizes, two.map(count_faults, sizes), strict=True):
        # given anew they were 8 times it
        assert faults < n_bytes / resource.getpagesize()


def where(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def test_work_for_a_gpu_goes_to_the_workers_that_offer_one(two: DaskExecutor) -> None:
    with pytest.raises(ValueError, match="none of 2 workers offers the resource 'GPU'"):
        list(two.with_gpu(True).map_unordered(where, range(8)))
    two._client.register_plugin(GpuResource(2, gpus=1))
    anywhere = {pid for _, pid in two.map_unordered(where, range(8))}
    on_gpu = {pid for _, pid in two.with_gpu(True).map_unordered(where, range(8))}
    assert len(anywhere) == 2
    assert len(on_gpu) == 1
    assert on_gpu < anywhere


def test_workers_share_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "CPU_COUNT", 8)
    monkeypatch.setattr(workers, "MEMORY_LIMIT", 100 * 10**9)
    shared = ComputeRecipe(workers=4)
    assert n_threads(shared) == 2
    assert worker_bytes(shared) == 20 * 10**9
    assert n_threads(ComputeRecipe(workers=0)) == 8
    assert n_threads(ComputeRecipe(workers=16)) == 1
    elsewhere = ComputeRecipe(workers=1, scheduler="tcp://127.0.0.1:1")
    assert n_threads(elsewhere) == 1  # whose cores nobody here knows
    stated = ComputeRecipe(workers=4, threads=3, memory_gb=1.5)
    assert (n_threads(stated), worker_bytes(stated)) == (3, 1_500_000_000)
    assert describe_compute(stated) == (
        "this process (3 threads) and 4 local workers (3 threads, 1.50 GB each)"
    )
    assert describe_compute(ComputeRecipe(workers=0)) == "this process (8 threads)"


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_CONNECT_S", 0.3)
    compute = ComputeRecipe(scheduler="tcp://127.0.0.1:9")
    message = (
        r"compute.scheduler='tcp://127.0.0.1:9' did not answer.*leave compute.scheduler out"
    )
    with pytest.raises(ConnectionError, match=message), open_executor(compute):
        pass


def test_work_runs_on_a_scheduler_that_runs_already() -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        compute = ComputeRecipe(scheduler=cluster.scheduler_address, threads=2)
        with open_executor(compute) as executor:
            assert [one["threads"] for one in executor.map(look, range(1))] == [2]


class LostCluster:
    """A cluster in which one of two workers is gone for good."""

    def __init__(self) -> None:
        self.scheduler_info = {"workers": {"a": {"status": "running"}}}
        self.scaled: list[int] = []

    def scale(self, n_workers: int) -> None:
        self.scaled.append(n_workers)


def test_lost_workers_are_brought_back_after_some_patience() -> None:
    cluster = LostCluster()
    revive = WorkerSupervisor(cluster, 2, grace_s=0.05)  # type: ignore[arg-type]
    revive()
    assert cluster.scaled == []
    time.sleep(0.06)
    revive()
    assert cluster.scaled == [0, 2]


def test_a_worker_that_is_back_in_time_is_not_restarted() -> None:
    cluster = LostCluster()
    revive = WorkerSupervisor(cluster, 2, grace_s=0.05)  # type: ignore[arg-type]
    revive()
    cluster.scheduler_info["workers"]["b"] = {"status": "running"}
    time.sleep(0.06)
    revive()
    del cluster.scheduler_info["workers"]["b"]
    revive()
    assert cluster.scaled == []


def test_workers_that_are_lost_again_and_again_end_the_run() -> None:
    revive = WorkerSupervisor(LostCluster(), 2, grace_s=0.0)  # type: ignore[arg-type]
    for _ in range(3):
        revive()
    with pytest.raises(RuntimeError, match="1 of 2 workers are gone after 3 restarts"):
        revive()


def _listens_only_here() -> bool:
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    connections = [one for process in family for one in process.net_connections("inet")]
    listening = {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
    return listening == {"127.0.0.1"}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators differ")
def test_a_process_that_keeps_its_memory_does_not_ask_for_it_anew() -> None:
    script = """
from flows.runtime import configure_malloc
from tests.flows.test_runtime import count_faults
print(count_faults(64 << 20))
configure_malloc()
print(count_faults(64 << 20))
"""
    call = [sys.executable, "-c", script]
    house = Path(__file__).parents[2]
    done = subprocess.run(call, capture_output=True, check=True, text=True, cwd=house)
    anew, kept = map(int, done.stdout.split())
    assert kept < anew / 10


def test_what_tracks_the_resources_of_workers_outlives_a_closed_terminal() -> None:
    script = """
import os, signal, time
from multiprocessing import resource_tracker
from flows.runtime import _block_signals
with _block_signals():
    pass
tracker = resource_tracker._resource_tracker
os.kill(tracker._pid, signal.SIGHUP)
time.sleep(0.3)
assert os.waitpid(tracker._pid, os.WNOHANG) == (0, 0), "it died"
assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
"""
    subprocess.run([sys.executable, "-c", script], check=True)
