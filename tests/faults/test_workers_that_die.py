"""Work that kills its workers is given up by name; the rest of it, and the workers, live on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

from flows.runtime import open_executor
from pipeline.executors import MAX_IN_FLIGHT_PER_WORKER, Executor
from pipeline.recipes import ComputeRecipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
POISON = 7
N_ITEMS = 12
GREEDY_BYTES = 4 << 30


@pytest.fixture(scope="module")
def spread() -> Iterator[Executor]:
    compute = ComputeRecipe(workers=2, threads=1, memory_gb=1.2, device="cpu")
    with open_executor(compute) as opened:
        yield opened


def double(item: int) -> int:
    return 2 * item


def die_over_poison(item: int) -> int:
    if item == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * item


def take_too_much(item: int) -> int:
    held = []
    while item == POISON:  # in pieces, as arrays are
        held.append(bytearray(os.urandom(1 << 20)) * 100)
        time.sleep(0.05)
        if len(held) * 100 << 20 > GREEDY_BYTES:
            break
    return 2 * item


def do_all(executor: Executor, function: object) -> tuple[dict[int, int], str]:
    """Do all items; give what was done, and the refusal."""
    done: dict[int, int] = {}
    try:
        done.update(executor.map_unordered(function, range(N_ITEMS)))  # type: ignore[arg-type]
    except RuntimeError as refusal:
        return done, str(refusal)
    return done, ""


@pytest.mark.parametrize("poison", [die_over_poison, take_too_much])
def test_an_item_that_kills_every_worker_is_named_and_the_workers_live_on(
    executor: Executor, poison: object
) -> None:
    done, said = do_all(executor, poison)
    assert f"workers died 3 times over {POISON}" in said
    assert "compute.memory_gb" in said
    assert POISON not in done
    assert do_all(executor, double) == ({item: 2 * item for item in range(N_ITEMS)}, "")


def test_many_items_are_handed_out_a_few_at_a_time(executor: Executor) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(2_000):
            taken += 1
            yield item

    begun_s = time.monotonic()
    for n, _ in enumerate(executor.map_unordered(double, items()), start=1):
        assert taken <= n + MAX_IN_FLIGHT_PER_WORKER * 2
    assert n == 2_000
    assert time.monotonic() - begun_s < 120


def freeze_once(item: tuple[str, int]) -> int:
    """Stop this process as a debugger would, the first time that it is asked."""
    mark, number = item
    if number == POISON and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGSTOP)
    return 2 * number


def test_a_worker_that_is_frozen_is_replaced(tmp_path: Path) -> None:
    compute = ComputeRecipe(workers=2, threads=1, memory_gb=1.2, device="cpu")
    items = [(str(tmp_path / "mark"), number) for number in range(N_ITEMS)]
    with (
        dask.config.set({"distributed.scheduler.worker-ttl": "20s"}),
        open_executor(compute) as executor,
    ):
        assert list(executor.map(freeze_once, items)) == [2 * n for n in range(N_ITEMS)]
    assert (tmp_path / "mark").exists()
