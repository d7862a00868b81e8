"""Refusing a cube that is not what was ingested: thoroughly where it is read, else by sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from stores.cube_digests import CubeDigests, compare_metadata, load_digests, way_out
from stores.digests import compare_file
from stores.errors import CorruptError
from stores.formatting import abbreviate
from stores.progress import ProgressCallback, no_progress

_THREADS = 4  # hashing lets go of the interpreter


def check_there(path: Path) -> None:
    """Refuse a cube with files that are missing, or have another size than when ingested.

    No frame is read: one that was altered and kept its size is not seen.

    Raises:
        CorruptError: names them.
    """
    digests = load_digests(path)
    if digests is None:
        return
    sizes = {
        name: compare_file(path / name, expected, sizes_only=True)
        for name, expected in digests.frames.items()
    }
    found = [f"{name} {what}" for name, what in sizes.items() if what]
    found += compare_metadata(path, digests)
    if found:
        raise CorruptError(
            f"cube {path} is damaged ({abbreviate(found)}), so it is not what was ingested; "
            f"{way_out(path)}; 'cubecast verify {path.parent}' names all of it"
        )


def check_frames(
    path: Path,
    names: Iterable[str],
    *,
    purpose: str,
    on_progress: ProgressCallback = no_progress,
) -> None:
    """Refuse to read files of frames that are not what was ingested at their place.

    Args:
        path: of the cube.
        names: files, by their paths in it.
        purpose: what they are read for, as in 'this forecast'.
        on_progress: called with the files done and in all.

    Raises:
        CorruptError: names the first of them, and what was found.
    """
    digests = load_digests(path)
    if digests is None:
        return
    found = _compare_frames(path, list(names), digests, on_progress)
    if found:
        name, what = next(iter(found.items()))
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise CorruptError(
            f"cube {path} is damaged where {purpose} would read it: {name} {what}{more}; "
            f"{way_out(path)}; 'cubecast verify {path.parent}' names all of it"
        )


def _compare_frames(
    path: Path, names: Sequence[str], digests: CubeDigests, on_progress: ProgressCallback
) -> dict[str, str]:
    """Describe each file of a frame that is not what was ingested there."""
    found = {}
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="digest") as pool:
        told = pool.map(partial(_compare, path, digests), names)
        for done, (name, what) in enumerate(zip(names, told, strict=True), start=1):
            on_progress(done, len(names))
            if what:
                found[name] = what
    return found


def _compare(path: Path, digests: CubeDigests, name: str) -> str:
    expected = digests.frames.get(name)
    if expected is None:
        return "was never ingested"
    return compare_file(path / name, expected)
