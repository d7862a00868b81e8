"""Read the next and write the last while computing the present."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

ItemT = TypeVar("ItemT")
LoadedT = TypeVar("LoadedT")
ResultT = TypeVar("ResultT")
ReceiptT = TypeVar("ReceiptT")


def pipelined(
    items: Iterable[ItemT],
    read: Callable[[ItemT], LoadedT],
    compute: Callable[[ItemT, LoadedT], ResultT],
    write: Callable[[ItemT, ResultT], ReceiptT],
) -> list[ReceiptT]:
    """Run items through three steps and return their receipts.

    At most one item is being read, one computed and one written. The steps
    of one item follow each other, and receipts come in the order of ``items``. An error of any
    step ends all and is raised.
    """
    todo = list(items)
    receipts: list[ReceiptT] = []
    writing: Future[ReceiptT] | None = None
    with (
        ThreadPoolExecutor(1, "read") as readers,
        ThreadPoolExecutor(1, "write") as writers,
    ):
        reading = readers.submit(read, todo[0]) if todo else None
        for index, item in enumerate(todo):
            assert reading is not None
            ready = reading.result()
            is_last = index + 1 == len(todo)
            reading = None if is_last else readers.submit(read, todo[index + 1])
            result = compute(item, ready)
            if writing is not None:
                receipts.append(writing.result())
            writing = writers.submit(write, item, result)
        if writing is not None:
            receipts.append(writing.result())
    return receipts
