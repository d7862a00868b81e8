"""Arrays that are kept within a byte budget, the least recently used given up first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from stores.array_types import AnyArray

Arrays = tuple[AnyArray, ...]


class _Entry:
    """Room for one entry; its lock lets one thread load while others wait for it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.arrays: Arrays | None = None


class LRUCache:
    """Arrays by key, loaded once while they are kept; safe to share between threads.

    Args:
        n_bytes: budget; what was just loaded stays, even when it alone is larger.
    """

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self.cached_bytes = 0
        self.n_loaded = 0
        self._slots: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def raise_budget(self, n_bytes: int) -> None:
        """Raise the budget to what is used at once: less would load it over and over."""
        with self._lock:
            self.n_bytes = max(self.n_bytes, n_bytes)

    def get_or_load(self, key: Hashable, load: Callable[[], Arrays]) -> Arrays:
        """Return the arrays of ``key``, whatever their shapes; treat them as read-only."""
        with self._lock:
            slot = self._slots.setdefault(key, _Entry())
            self._slots.move_to_end(key)
        with slot.lock:
            if slot.arrays is None:
                slot.arrays = load()
                self._account(key, slot.arrays)
            return slot.arrays

    def _account(self, key: Hashable, arrays: Arrays) -> None:
        """Count what was loaded, and give up the oldest entries beyond the budget."""
        with self._lock:
            self.n_loaded += 1
            self.cached_bytes += _size(arrays)
            for other in list(self._slots):
                if self.cached_bytes <= self.n_bytes:
                    return
                known = self._slots[other].arrays
                if other != key and known is not None:
                    del self._slots[other]
                    self.cached_bytes -= _size(known)


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays)
