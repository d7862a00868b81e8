"""Seconds, peak memory and tables: how every benchmark measures and prints."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from unittest.mock import patch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

MIB = 2**20
_LIBRARIES = ("torch", "numpy", "zarr", "dask", "distributed")


def build_parser(what: str) -> argparse.ArgumentParser:
    """Build the options that all benchmarks have."""
    parser = argparse.ArgumentParser(
        description=what, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="the sizes that the aims name")
    parser.add_argument("--threads", type=int, default=1, help="threads of arithmetic")
    parser.add_argument("--scratch", type=Path, default=None, help="where cubes are made")
    return parser


@contextmanager
def scratch_folder(where: Path | None) -> Iterator[Path]:
    """Yield a folder for what is made here; it goes when the body ends."""
    with tempfile.TemporaryDirectory(prefix="cubecast-bench-", dir=where) as folder:
        yield Path(folder)


def run_in_subprocess(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Call a function in a fresh process, whose peak memory is that of the function alone."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as pool:
        return pool.submit(function, *args, **kwargs).result()


def peak_bytes() -> int:
    """Return the largest memory that this process has held [B].

    Linux's VmHWM, because ``ru_maxrss`` of a child begins with the peak of its parent.
    """
    return _status("VmHWM")


def held_bytes() -> int:
    """Return the memory that this process holds now [B]."""
    return _status("VmRSS")


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}, so memory cannot be measured; run on Linux")


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Time a body: the yielded function returns its seconds, also afterwards."""
    start = time.perf_counter()
    stop = 0.0
    yield lambda: (stop or time.perf_counter()) - start
    stop = time.perf_counter()


@dataclass
class Stopwatch:
    """Seconds spent inside named functions while a rollout runs, summed over threads."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def around(self, label: str, owner: Any, name: str) -> Iterator[None]:
        """Time every call of ``owner.name`` under ``label`` while the body runs."""
        original = getattr(owner, name)
        self.seconds.setdefault(label, 0.0)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with stopwatch() as spent:
                result = original(*args, **kwargs)
            self.seconds[label] += spent()
            return result

        with patch.object(owner, name, timed):
            yield


def median(values: Sequence[float]) -> float:
    """Compute the median of a few repeats."""
    return statistics.median(values)


def format_range(values: Sequence[float]) -> str:
    """Format how much repeats differ: least to most."""
    return f"{min(values):.1f} to {max(values):.1f}"


def print_environment(**facts: object) -> None:
    """Print what was measured and where: facts, cores, memory, versions."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    machine = f"{os.cpu_count()} cores, {pages / 2**30:.0f} GiB, load {os.getloadavg()[0]:.1f}"
    print(f"machine    {machine}")
    print("libraries  " + ", ".join(f"{name} {version(name)}" for name in _LIBRARIES))
    for name, fact in facts.items():
        print(f"{name:10s} {fact}")
    print()


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a header, every column as wide as its widest cell."""
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for number, line in enumerate(lines):
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        print("  ".join([line[0].ljust(widths[0]), *cells]).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))
    print(flush=True)


def print_target(aim: str, reached: str, *, met: bool) -> None:
    """Print a number beside its aim."""
    print(f"aim {aim}: {reached} - {'met' if met else 'MISSED'}", flush=True)
