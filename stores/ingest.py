"""From an archive into a cube: prepare once, write frames anywhere, commit once.

A new cube is made out of sight and appears with one rename. A cube that is there grows in
place: its readers see the new frames only after the root metadata is replaced, which comes
last. After a crash at any write the same three calls go on where the last ones stopped.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from stores import grid as grids
from stores.archive import SourceVariable
from stores.arrays import array_of, compose_root, open_group, write_root
from stores.counting import count, listed
from stores.cube import COVERAGE_KEY, VERSION_KEY, Cube, chunk_file
from stores.cube_digests import (
    DIGESTS_KEY,
    adopt_frames,
    check_rest,
    digest_cube,
    frame_digests,
    load_digests,
    write_digests,
)
from stores.digests import FileDigest
from stores.discovery import describe_coverage
from stores.files import read_json, sweep_litter, sync_file, write_json
from stores.growth import PlannedFrame
from stores.ingest_frame import Job, blocks_of, copy_frame, naming
from stores.ingest_plan import IngestPlan
from stores.inputs import sweep_inputs, write_inputs
from stores.ledger import Ledger
from stores.leftovers import measure
from stores.room import naming_full_disk
from stores.template import coverage_of, create_cube, grow_cube

Values = npt.NDArray[np.float32]

_SYNC_THREADS = 16  # a journal takes many together in the time of one

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FrameReceipt:
    """What one written frame holds."""

    variable: str
    key: str
    valid: int
    """Pixels on the cube's grid."""
    invalid: int
    outside: int
    """Pixels of the file that valid_range refused."""
    infinite: int
    digest: str
    """Of the file it was made of, or 'gap'."""
    files: dict[str, FileDigest] = field(default_factory=dict)
    """Digests of what was written, by path in the cube."""


def prepare_cube(plan: IngestPlan) -> None:
    """Make room for the frames of a plan; readers see nothing of it yet.

    Raises:
        ArchiveError: the plan would change frames that are there; nothing is written.
    """
    plan.check()
    if plan.is_empty:
        shutil.rmtree(_pending(plan.path), ignore_errors=True)
        return
    with naming_full_disk(plan.path):
        _prepare(plan)


def _prepare(plan: IngestPlan) -> None:
    pending = _pending(plan.path)
    request = pending / "plan.json"
    if _version_of(request) != plan.version:
        shutil.rmtree(pending, ignore_errors=True)
        if plan.base is not None:
            check_rest(plan.path)
        write_json(request, _request(plan))
    else:
        sweep_litter(_work(plan.path))  # of the run that is gone on with
    if plan.base is not None:
        grow_cube(plan)
        return
    made = Ledger(pending / "made")
    if made.receipt("template") is None:
        shutil.rmtree(_unborn(plan.path), ignore_errors=True)
        create_cube(plan, _unborn(plan.path))
        made.mark("template", {})


def write_frame(plan_or_path: IngestPlan | Path, variable: str, key: str) -> FrameReceipt:
    """Read one frame onto the cube's grid and write its shards, or say that this was done.

    Safe from several processes at once: a frame owns its shards.

    Args:
        plan_or_path: the plan, or the cube's path, which is enough after ``prepare_cube``.
        variable: name.
        key: of the frame in ``plan.frames``.

    Raises:
        ArchiveError: the file has changed since the inventory, or cannot be read.
    """
    path = plan_or_path if isinstance(plan_or_path, Path) else plan_or_path.path
    ledger, entry = Ledger(_pending(path) / "frames"), f"{variable}/{key}"
    job = _load_job(path, variable)
    frame = job.frames[key]
    array = array_of(open_group(_work(path), mode="r+"), variable)
    done = ledger.receipt(entry)
    shards = _shards(_work(path), array, frame)
    if done and _is_of(done, frame) and all(file.exists() for file in shards):
        return FrameReceipt(**done)
    with naming(frame):
        valid = copy_frame(job, frame, array)
        for file in shards:
            sync_file(file)  # before the ledger says so; the folders follow at the commit
    receipt = FrameReceipt(
        variable,
        key,
        valid=valid,
        invalid=math.prod(job.grid.shape) - valid,
        outside=frame.outside,
        infinite=frame.infinite,
        digest=frame.digest,
        files=frame_digests(_work(path), shards),
    )
    ledger.mark(entry, asdict(receipt))
    return receipt


def commit_cube(plan: IngestPlan, receipts: Iterable[FrameReceipt]) -> str:
    """Make everything that was written visible at once, and return the version.

    Raises:
        ValueError: frames of the plan were not written; the cube stays as it is.
    """
    if plan.is_empty:
        return plan.version
    receipts = list(receipts)
    written = {(receipt.variable, receipt.key) for receipt in receipts}
    absent = [
        f"{f.variable} {f.key}" for f in plan.frames if (f.variable, f.key) not in written
    ]
    if absent:
        raise ValueError(
            f"{len(absent)} frames of the plan were not written ({listed(absent)}), so "
            "the cube would have holes; write them and commit again"
        )
    work = _work(plan.path)
    _sync_rest(plan, work)
    write_inputs(plan.path, plan.inputs)
    added = {name: digest for one in receipts for name, digest in one.files.items()}
    _show(plan, work, {**_known_frames(plan), **added})
    if work != plan.path:
        work.rename(plan.path)
        sync_file(plan.path.parent)
    shutil.rmtree(_pending(plan.path), ignore_errors=True)
    sweep_inputs(plan.path, plan.version)
    new = count(len(plan.frames), "frame")
    log.info("cube %s has version %s: %s new", plan.path, plan.version, new)
    return plan.version


def _show(plan: IngestPlan, work: Path, frames: Mapping[str, FileDigest]) -> None:
    """Write the digests of the coming version, then the root metadata that names them."""
    root = compose_root(work, _commit_attributes(plan, work))
    digests = digest_cube(open_group(work, mode="r+"), root, frames)
    root["attributes"][DIGESTS_KEY] = write_digests(plan.path, plan.version, digests)
    write_root(work, root)


def _known_frames(plan: IngestPlan) -> Mapping[str, FileDigest]:
    """Take the digests of what the cube holds, or adopt it where none were kept."""
    if plan.base is None:
        return {}
    known = load_digests(plan.path)
    return adopt_frames(Cube.open(plan.path)) if known is None else known.frames


def _version_of(request: Path) -> str | None:
    """Tell which version an unfinished ingest makes; None where there is none to go on with."""
    try:
        return str(read_json(request)["version"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        log.warning("%s is damaged (%r), so the ingest begins anew", request, error)
        return None


def _is_of(done: Mapping[str, Any], frame: PlannedFrame) -> bool:
    """Tell whether a receipt is that of a frame; earlier versions wrote less."""
    names = {field.name for field in fields(FrameReceipt)}
    return set(done) == names and done["digest"] == frame.digest


def unfinished_bytes(path: Path) -> int:
    """Count what an ingest that was cut short has left: a rerun takes it up, or removes it."""
    pending = _pending(path)
    return measure(pending)[0] if pending.exists() else 0


def _request(plan: IngestPlan) -> dict[str, Any]:
    """Write down a plan for writers that only know the cube's path."""
    frames: dict[str, list[dict[str, Any]]] = {v.source.name: [] for v in plan.variables}
    for frame in plan.frames:
        frames[frame.variable].append(asdict(frame))
    return {
        "version": plan.version,
        "root": str(plan.root.resolve()),
        "grid": grids.to_json(plan.grid),
        "variables": {v.source.name: asdict(v.source) for v in plan.variables},
        "frames": frames,
    }


def _load_job(path: Path, variable: str) -> Job:
    request = _pending(path) / "plan.json"
    if not request.exists():
        raise ValueError(f"cube {path} expects no frames; call prepare_cube before write_frame")
    return _parse_job(request, request.stat().st_mtime_ns, variable)


@lru_cache(maxsize=64)
def _parse_job(request: Path, _changed_ns: int, variable: str) -> Job:
    written = read_json(request)
    source = written["variables"][variable]
    limits, codes = source.pop("valid_range"), tuple(source.pop("share_of"))
    return Job(
        root=Path(written["root"]),
        grid=grids.from_json(written["grid"]),
        source=SourceVariable(
            **source, valid_range=tuple(limits) if limits else None, share_of=codes
        ),
        frames={f["key"]: PlannedFrame(**f) for f in written["frames"][variable]},
    )


def _shards(work: Path, array: zarr.Array[Any], frame: PlannedFrame) -> list[Path]:
    """Name the files of a frame."""
    rows, cols = (array.shards or array.chunks)[-2:]
    leading = () if frame.index is None else (frame.index,)
    places = [(*leading, window.y0 // rows, window.x0 // cols) for window in blocks_of(array)]
    return [chunk_file(work, array, place) for place in places]


def _sync_rest(plan: IngestPlan, work: Path) -> None:
    """Force to the disk what no frame's writer did: folders, metadata, coordinates."""
    group = open_group(work, mode="r+")
    arrays = {v.source.name: array_of(group, v.source.name) for v in plan.variables}
    changed = {work}
    for frame in plan.frames:
        for file in _shards(work, arrays[frame.variable], frame):
            changed.update(p for p in file.parents if p.is_relative_to(work))
    for folder in work.iterdir():
        if folder.is_dir():
            changed |= {folder, folder / "zarr.json"}
            changed.update(() if folder.name in arrays else (folder / "c").rglob("*"))
    with ThreadPoolExecutor(_SYNC_THREADS) as pool:
        list(pool.map(sync_file, changed))


def _commit_attributes(plan: IngestPlan, work: Path) -> dict[str, Any]:
    before = open_group(work, mode="r+").attrs.get("history", "")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    frames = count(len(plan.frames), "frame")
    line = f"{now} cubecast ingested {frames}: version {plan.version}"
    coverage = describe_coverage(plan.step, plan.times) if len(plan.times) else {}
    return coverage | {
        "title": plan.title,
        "history": f"{before}\n{line}".strip(),
        VERSION_KEY: plan.version,
        COVERAGE_KEY: coverage_of(plan.inputs),
    }


def _work(path: Path) -> Path:
    """Name the group that is written to: the cube, or the one that will become it."""
    return path if path.exists() else _unborn(path)


def _pending(path: Path) -> Path:
    """Name the hidden folder in which an unfinished ingest stands."""
    return path.with_name(f".{path.name}.pending")


def _unborn(path: Path) -> Path:
    return _pending(path) / path.name
