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
from pathlib import Path
from typing import Any

import zarr

from stores.acdd import time_coverage_attributes
from stores.append import PlannedFrame
from stores.arrays import consolidate_metadata, get_array, open_group, write_root_metadata
from stores.cube import COVERAGE_KEY, VERSION_KEY, Cube, chunk_file
from stores.cube_digests import (
    DIGESTS_KEY,
    digest_cube,
    digest_existing_frames,
    digest_frame,
    load_digests,
    repair_metadata,
    write_digests,
)
from stores.cube_inputs import remove_old_inputs, write_inputs
from stores.digests import FileDigest
from stores.disk_space import reraise_disk_full
from stores.files import fsync_path, remove_temp_files
from stores.formatting import abbreviate, pluralize
from stores.ingest_frame import copy_frame, reraise_with_frame, shard_windows
from stores.ingest_pending import (
    load_job,
    pending_cube,
    pending_folder,
    pending_version,
    write_plan,
    write_target,
)
from stores.ingest_plan import IngestPlan
from stores.ledger import Ledger
from stores.template import build_coverage, create_cube, grow_cube

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
    """Create the arrays for the frames of a plan; readers see nothing of it yet.

    Raises:
        ArchiveError: the plan would change frames that are there; nothing is written.
    """
    plan.check()
    if plan.is_empty:
        shutil.rmtree(pending_folder(plan.path), ignore_errors=True)
        return
    with reraise_disk_full(plan.path):
        _prepare(plan)


def _prepare(plan: IngestPlan) -> None:
    pending = pending_folder(plan.path)
    if pending_version(plan.path) != plan.version:
        shutil.rmtree(pending, ignore_errors=True)
        if plan.base_version is not None:
            repair_metadata(plan.path)
        write_plan(plan)
    else:
        remove_temp_files(write_target(plan.path))  # of the run that is gone on with
    if plan.base_version is not None:
        grow_cube(plan)
        return
    ledger = Ledger(pending / "made")
    if ledger.receipt("template") is None:
        shutil.rmtree(pending_cube(plan.path), ignore_errors=True)
        create_cube(plan, pending_cube(plan.path))
        ledger.mark("template", {})


def write_frame(plan_or_path: IngestPlan | Path, variable: str, key: str) -> FrameReceipt:
    """Read one frame onto the cube's grid and write its shards, unless this was done before.

    Safe from several processes at once: a frame owns its shards.

    Args:
        plan_or_path: the plan, or the cube's path, which is enough after ``prepare_cube``.
        variable: name.
        key: of the frame in ``plan.frames``.

    Raises:
        ArchiveError: the file has changed since the inventory, or cannot be read.
    """
    path = plan_or_path if isinstance(plan_or_path, Path) else plan_or_path.path
    ledger = Ledger(pending_folder(path) / "frames")
    entry = f"{variable}/{key}"
    job = load_job(path, variable)
    frame = job.frames[key]
    array = get_array(open_group(write_target(path), mode="r+"), variable)
    earlier = ledger.receipt(entry)
    shards = _shards(write_target(path), array, frame)
    if earlier and _is_receipt_of(earlier, frame) and all(file.exists() for file in shards):
        return FrameReceipt(**earlier)
    with reraise_with_frame(frame):
        valid = copy_frame(job, frame, array)
        for file in shards:
            fsync_path(file)  # before the ledger says so; the folders follow at the commit
    receipt = FrameReceipt(
        variable,
        key,
        valid=valid,
        invalid=math.prod(job.grid.shape) - valid,
        outside=frame.outside,
        infinite=frame.infinite,
        digest=frame.digest,
        files=digest_frame(write_target(path), shards),
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
    by_frame = {(receipt.variable, receipt.key): receipt for receipt in receipts}
    unwritten = [
        f"{f.variable} {f.key}" for f in plan.frames if (f.variable, f.key) not in by_frame
    ]
    if unwritten:
        raise ValueError(
            f"{len(unwritten)} frames of the plan were not written ({abbreviate(unwritten)}), "
            "so the cube would have holes; write them and commit again"
        )
    work = write_target(plan.path)
    _fsync_metadata(plan, work)
    write_inputs(plan.path, plan.inputs)
    digests = dict(_existing_digests(plan))
    for receipt in by_frame.values():
        digests |= receipt.files
    _write_commit(plan, work, digests)
    if work != plan.path:
        work.rename(plan.path)
        fsync_path(plan.path.parent)
    shutil.rmtree(pending_folder(plan.path), ignore_errors=True)
    remove_old_inputs(plan.path, plan.version)
    new = pluralize(len(plan.frames), "frame")
    log.info("cube %s has version %s: %s new", plan.path, plan.version, new)
    return plan.version


def _write_commit(plan: IngestPlan, work: Path, frames: Mapping[str, FileDigest]) -> None:
    """Write the digests of the coming version, then the root metadata that names them."""
    root = consolidate_metadata(work, _commit_attributes(plan, work))
    digests = digest_cube(open_group(work, mode="r+"), root, frames)
    root["attributes"][DIGESTS_KEY] = write_digests(plan.path, plan.version, digests)
    write_root_metadata(work, root)


def _existing_digests(plan: IngestPlan) -> Mapping[str, FileDigest]:
    """Load the digests of what the cube holds, or compute them where none were kept."""
    if plan.base_version is None:
        return {}
    digests = load_digests(plan.path)
    return digest_existing_frames(Cube.open(plan.path)) if digests is None else digests.frames


def _is_receipt_of(receipt: Mapping[str, Any], frame: PlannedFrame) -> bool:
    """Return whether a receipt is that of a frame; earlier versions wrote less."""
    names = {field.name for field in fields(FrameReceipt)}
    return set(receipt) == names and receipt["digest"] == frame.digest


def _shards(work: Path, array: zarr.Array[Any], frame: PlannedFrame) -> list[Path]:
    """List the files of a frame."""
    rows, cols = (array.shards or array.chunks)[-2:]
    leading = () if frame.index is None else (frame.index,)
    return [
        chunk_file(work, array, (*leading, window.y0 // rows, window.x0 // cols))
        for window in shard_windows(array)
    ]


def _fsync_metadata(plan: IngestPlan, work: Path) -> None:
    """Force to the disk what no frame's writer did: folders, metadata, coordinates."""
    group = open_group(work, mode="r+")
    arrays = {v.source.name: get_array(group, v.source.name) for v in plan.variables}
    changed = {work}
    for frame in plan.frames:
        for file in _shards(work, arrays[frame.variable], frame):
            changed.update(p for p in file.parents if p.is_relative_to(work))
    for folder in work.iterdir():
        if folder.is_dir():
            changed |= {folder, folder / "zarr.json"}
            changed.update(() if folder.name in arrays else (folder / "c").rglob("*"))
    with ThreadPoolExecutor(_SYNC_THREADS) as pool:
        list(pool.map(fsync_path, changed))


def _commit_attributes(plan: IngestPlan, work: Path) -> dict[str, Any]:
    before = open_group(work, mode="r+").attrs.get("history", "")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    frames = pluralize(len(plan.frames), "frame")
    line = f"{now} cubecast ingested {frames}: version {plan.version}"
    coverage = time_coverage_attributes(plan.step, plan.times) if len(plan.times) else {}
    return coverage | {
        "title": plan.title,
        "history": f"{before}\n{line}".strip(),
        VERSION_KEY: plan.version,
        COVERAGE_KEY: build_coverage(plan.inputs),
    }
