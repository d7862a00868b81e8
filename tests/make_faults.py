"""What tests of faults share: damage that can be repeated, and bounds that are kept."""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MOST_S, MOST_MB = 2.0, 500.0

Key = str | int
Path_ = tuple[Key, ...]


class TooSlowError(BaseException):
    """Something took more processor time than a refusal may take."""


@contextmanager
def within_bounds() -> Iterator[None]:
    """Stop the body after 2 s of processor time; fail if memory grew by more than 500 MB."""

    def stop(*_: object) -> None:
        raise TooSlowError(f"more than {MOST_S} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, MOST_S)
    peak_mb = _peak_mb()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert _peak_mb() - peak_mb < MOST_MB


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def tree(folder: Path) -> dict[str, int]:
    """List all that lies in a folder, with sizes."""
    return {str(path): path.lstat().st_size for path in sorted(folder.rglob("*"))}


def list_places(node: Any, place: Path_ = ()) -> list[Path_]:
    """List the way to every value at every depth."""
    pairs: list[tuple[Key, Any]] = []
    if isinstance(node, dict):
        pairs = list(node.items())
    elif isinstance(node, list):
        pairs = list(enumerate(node))
    found = [(*place, key) for key, _ in pairs]
    return found + [deep for key, value in pairs for deep in list_places(value, (*place, key))]


def put(node: Any, place: Path_, value: Any) -> None:
    """Set the value at a place."""
    *parents, last = place
    for key in parents:
        node = node[key]
    node[last] = value


def take_away(node: Any, place: Path_) -> None:
    """Remove a key or an item."""
    *parents, last = place
    for key in parents:
        node = node[key]
    del node[last]


def pick(rng: random.Random, places: list[Path_]) -> Path_:
    """Choose a place; half of the time deep ones as often as shallow ones, which are few."""
    if rng.random() < 0.5:
        return rng.choice(places)
    depth = rng.choice(sorted({len(place) for place in places}))
    return rng.choice([place for place in places if len(place) == depth])
