"""Arrays that are kept within a byte budget, the least recently used dropped first."""

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
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def raise_budget(self, n_bytes: int) -> None:
        """Raise the budget to what is used at once: less would load it over and over."""
        with self._lock:
            self.n_bytes = max(self.n_bytes, n_bytes)

    def get_or_load(self, key: Hashable, load: Callable[[], Arrays]) -> Arrays:
        """Return the arrays of ``key``, whatever their shapes; treat them as read-only."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        with entry.lock:
            if entry.arrays is None:
                entry.arrays = load()
                self._account(key, entry.arrays)
            return entry.arrays

    def _account(self, key: Hashable, arrays: Arrays) -> None:
        """Count what was loaded, and drop the oldest entries beyond the budget."""
        with self._lock:
            self.n_loaded += 1
            self.cached_bytes += _size(arrays)
            for other in list(self._entries):
                if self.cached_bytes <= self.n_bytes:
                    return
                arrays_of_other = self._entries[other].arrays
                if other != key and arrays_of_other is not None:
                    del self._entries[other]
                    self.cached_bytes -= _size(arrays_of_other)


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays)
