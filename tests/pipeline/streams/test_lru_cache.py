import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline.streams.lru_cache import Arrays, LRUCache


def made(n_bytes: int) -> Arrays:
    return (np.zeros(n_bytes, dtype=np.uint8),)


def test_what_is_kept_stays_within_the_budget_and_the_oldest_goes_first() -> None:
    kept = LRUCache(100)
    for key in "abc":
        kept.get_or_load(key, lambda: made(40))
    assert kept.cached_bytes == 80
    kept.get_or_load("c", lambda: made(40))
    kept.get_or_load("b", lambda: made(40))
    assert kept.n_loaded == 3
    kept.get_or_load("a", lambda: made(40))
    assert kept.n_loaded == 4
    kept.get_or_load("b", lambda: made(40))
    assert kept.n_loaded == 4  # c was the oldest


def test_what_is_larger_than_the_budget_is_given_and_then_given_up() -> None:
    kept = LRUCache(100)
    assert len(kept.get_or_load("large", lambda: made(500))[0]) == 500
    kept.get_or_load("small", lambda: made(10))
    assert kept.cached_bytes == 10


def test_threads_that_want_the_same_load_it_once() -> None:
    kept, together = LRUCache(1000), threading.Barrier(4)

    def want(_: int) -> int:
        together.wait()
        return len(kept.get_or_load("same", lambda: made(40))[0])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(want, range(4))) == [40] * 4
    assert kept.n_loaded == 1
