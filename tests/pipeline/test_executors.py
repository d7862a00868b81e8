import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.executors import ThreadExecutor, available_bytes


def test_threads_give_results_in_order_however_long_each_takes() -> None:
    def late(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    assert list(ThreadExecutor(3).map(late, range(20))) == [n * n for n in range(20)]
    assert sorted(ThreadExecutor(3).map_unordered(late, range(5))) == [
        (n, n * n) for n in range(5)
    ]


def test_threads_take_no_more_items_than_twice_their_number() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(30):
            taken.append(number)
            yield number

    results = ThreadExecutor(3).map(abs, items())
    ahead = [len(taken) - done for done, _ in enumerate(results)]
    assert len(taken) == 30
    assert max(ahead) <= 2 * 3


def test_what_fails_on_a_thread_fails_for_its_caller_and_ends_the_threads() -> None:
    with pytest.raises(ZeroDivisionError):
        list(ThreadExecutor(2).map(lambda number: 1 // number, [2, 1, 0, 3]))
    assert not any(t.name.startswith("cubecast") for t in threading.enumerate())


def test_free_memory_is_some_and_no_more_than_a_machine_has() -> None:
    assert 2**20 < available_bytes() < 2**50
