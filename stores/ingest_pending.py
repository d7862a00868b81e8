"""An unfinished ingest: its hidden folder beside the cube, and the plan for its writers."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from stores import grid as grids
from stores.append import PlannedFrame
from stores.archive import SourceVariable
from stores.files import read_json, write_json
from stores.ingest_frame import FrameWriteJob
from stores.ingest_plan import IngestPlan
from stores.retention import tree_usage

log = logging.getLogger(__name__)


def pending_bytes(path: Path) -> int:
    """Count what an ingest that was cut short has left: a rerun takes it up, or removes it."""
    pending = pending_folder(path)
    return tree_usage(pending)[0] if pending.exists() else 0


def pending_version(path: Path) -> str | None:
    """Return which version an unfinished ingest makes; None where there is none."""
    plan_file = _plan_file(path)
    try:
        return str(read_json(plan_file)["version"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        log.warning("%s is damaged (%r), so the ingest begins anew", plan_file, error)
        return None


def write_plan(plan: IngestPlan) -> None:
    """Write a plan for writers that only know the cube's path."""
    frames: dict[str, list[dict[str, Any]]] = {v.source.name: [] for v in plan.variables}
    for frame in plan.frames:
        frames[frame.variable].append(asdict(frame))
    content = {
        "version": plan.version,
        "root": str(plan.root.resolve()),
        "grid": grids.to_json(plan.grid),
        "variables": {v.source.name: asdict(v.source) for v in plan.variables},
        "frames": frames,
    }
    write_json(_plan_file(plan.path), content)


def load_job(path: Path, variable: str) -> FrameWriteJob:
    """Read what the writer of a variable's frames needs of the plan.

    Raises:
        ValueError: no ingest was prepared.
    """
    plan_file = _plan_file(path)
    if not plan_file.exists():
        raise ValueError(f"cube {path} expects no frames; call prepare_cube before write_frame")
    return _parse_job(plan_file, plan_file.stat().st_mtime_ns, variable)


@lru_cache(maxsize=64)
def _parse_job(plan_file: Path, _changed_ns: int, variable: str) -> FrameWriteJob:
    written = read_json(plan_file)
    source = written["variables"][variable]
    limits = source.pop("valid_range")
    codes = tuple(source.pop("share_of"))
    return FrameWriteJob(
        root=Path(written["root"]),
        grid=grids.from_json(written["grid"]),
        source=SourceVariable(
            **source, valid_range=tuple(limits) if limits else None, share_of=codes
        ),
        frames={f["key"]: PlannedFrame(**f) for f in written["frames"][variable]},
    )


def write_target(path: Path) -> Path:
    """Return the group that is written to: the cube, or the one that will become it."""
    return path if path.exists() else pending_cube(path)


def pending_folder(path: Path) -> Path:
    """Return the hidden folder in which an unfinished ingest stands."""
    return path.with_name(f".{path.name}.pending")


def pending_cube(path: Path) -> Path:
    """Return where a new cube is written before it appears."""
    return pending_folder(path) / path.name


def _plan_file(path: Path) -> Path:
    return pending_folder(path) / "plan.json"
