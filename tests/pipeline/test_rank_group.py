import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import dask.config
import pytest

from flows.runtime import GpuResource, open_executor
from pipeline import rank_group
from pipeline.dask_executor import DaskExecutor
from pipeline.executors import SerialExecutor, available_bytes
from pipeline.rank_group import RankChannel, RankContext
from pipeline.recipes import ComputeRecipe

HELD_BYTES = 300 << 20


@pytest.fixture(scope="module")
def workers() -> Iterator[DaskExecutor]:
    compute = ComputeRecipe(workers=2, threads=1, memory_gb=1.5, device="cpu")
    # What schedulers elsewhere are asked for does not keep local workers from starting.
    elsewhere = {"distributed.comm.require-encryption": True}
    with dask.config.set(elsewhere), open_executor(compute) as executor:
        assert isinstance(executor, DaskExecutor)
        yield executor


def run(executor: DaskExecutor, function: Any, n: int = 2, **options: Any) -> list[Any]:
    on_message = options.pop("on_message", lambda message: None)
    return executor.run_ranks(
        function, n, on_message=on_message, should_stop=lambda: False, **options
    )


def pids(executor: DaskExecutor) -> set[int]:
    return set(executor._client.run(os.getpid).values())


def report_rank(rank_context: RankContext, channel: RankChannel) -> tuple[RankContext, int]:
    channel.send([rank_context.rank, "here"])
    time.sleep(0.2)
    return rank_context, os.getpid()


def read_available_bytes(rank_context: RankContext, channel: RankChannel) -> int:
    return available_bytes()


def hold(rank_context: RankContext, channel: RankChannel) -> int:
    return len(b"x" * (HELD_BYTES if rank_context.rank == 1 else 1))


def fail_alone(rank_context: RankContext, channel: RankChannel) -> None:
    if rank_context.rank == 1:
        raise LookupError("of rank 1")
    while True:
        time.sleep(0.05)
        channel.send(None)


def lose_the_other(rank_context: RankContext, channel: RankChannel) -> None:
    if rank_context.rank == 1:
        time.sleep(0.5)
        raise LookupError("of rank 1")
    raise ConnectionError("lost rank 1")


def ignore_requests(rank_context: RankContext, channel: RankChannel) -> None:
    if rank_context.rank == 1:
        raise LookupError("of rank 1")
    time.sleep(600)


def die(rank_context: RankContext, channel: RankChannel) -> None:
    if rank_context.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        time.sleep(0.05)
        channel.send(None)


def stop_when_requested(rank_context: RankContext, channel: RankChannel) -> str:
    channel.send("ready")
    while not channel.is_stop_requested():
        time.sleep(0.02)
    return f"rank {rank_context.rank} kept its work"


def test_ranks_run_on_different_workers_and_know_where_to_meet(
    workers: DaskExecutor,
) -> None:
    messages: list[Any] = []
    (first, one), (second, other) = run(workers, report_rank, on_message=messages.append)
    assert {one, other} == pids(workers)
    assert (first.rank, second.rank) == (0, 1)
    assert first.world_size == second.world_size == 2
    assert first.rendezvous == second.rendezvous
    assert first.rendezvous[0] == first.host == "127.0.0.1"
    assert sorted(map(tuple, messages)) == [(0, "here"), (1, "here")]


def test_ranks_may_take_no_more_memory_than_their_worker_has(
    workers: DaskExecutor,
) -> None:
    assert available_bytes() > 3 * 10**9  # this process may take more
    assert all(10**8 < n_bytes < 1.5 * 10**9 for n_bytes in run(workers, read_available_bytes))


def test_a_rank_that_fails_stops_the_others_and_its_error_is_raised(
    workers: DaskExecutor,
) -> None:
    before, began = pids(workers), time.monotonic()
    with pytest.raises(LookupError, match="of rank 1"):
        run(workers, fail_alone)
    assert time.monotonic() - began < rank_group._GRACE_PERIOD_S + 5
    assert pids(workers) == before  # nobody had to be restarted
    assert len(run(workers, report_rank)) == 2


def test_the_cause_is_raised_and_not_that_other_ranks_noticed(workers: DaskExecutor) -> None:
    with pytest.raises(LookupError, match="of rank 1"):
        run(workers, lose_the_other)


def test_the_worker_of_a_rank_that_does_not_stop_is_restarted(
    workers: DaskExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_group, "_GRACE_PERIOD_S", 1.0)
    before = pids(workers)
    with pytest.raises(LookupError, match="of rank 1"):
        run(workers, ignore_requests)
    assert len(run(workers, report_rank)) == 2
    assert len(pids(workers) & before) == 1


def test_a_worker_that_is_killed_ends_the_work_in_seconds(
    workers: DaskExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_group, "_GRACE_PERIOD_S", 1.0)
    began = time.monotonic()
    with pytest.raises(ConnectionError, match=r"the worker of rank 1 .* is gone, so all 2"):
        run(workers, die)
    assert time.monotonic() - began < 10
    assert len(run(workers, report_rank)) == 2


def test_ranks_are_requested_to_stop_and_return_what_they_have(workers: DaskExecutor) -> None:
    messages: list[Any] = []
    results = workers.run_ranks(
        stop_when_requested,
        2,
        on_message=messages.append,
        should_stop=lambda: len(messages) == 2,
    )
    assert results == ["rank 0 kept its work", "rank 1 kept its work"]


def test_fewer_workers_than_ranks_are_refused(
    workers: DaskExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_group, "_WORKERS_TIMEOUT_S", 0.1)
    message = r"2 workers are there for compute.ranks=3.*lower compute.ranks"
    with pytest.raises(ConnectionError, match=message):
        run(workers, report_rank, 3)


def test_fewer_gpus_than_ranks_are_refused(
    workers: DaskExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_group, "_WORKERS_TIMEOUT_S", 0.1)
    workers._client.register_plugin(GpuResource(2, gpus=1))
    with pytest.raises(ConnectionError, match=r"workers with a GPU are there for"):
        run(workers.with_gpu(True), report_rank)


def test_one_process_cannot_run_ranks() -> None:
    with pytest.raises(ValueError, match=r"compute.ranks=2 learn .* set compute.workers=2"):
        SerialExecutor().run_ranks(report_rank, 2, on_message=print, should_stop=lambda: False)


def test_the_peak_memory_of_a_rank_is_measured(workers: DaskExecutor) -> None:
    workers.pop_peak_bytes()
    assert run(workers, hold) == [1, HELD_BYTES]
    assert workers.pop_peak_bytes() > HELD_BYTES
