"""Scrubbing a cube: every file of every frame against what was ingested there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from stores.arrays import open_group
from stores.chunks import describe_chunk_file, describe_chunk_path, list_chunk_files
from stores.cube import Cube
from stores.cube_digests import CubeDigests, compare_metadata, load_digests
from stores.cube_inputs import load_inputs
from stores.digests import compare_file
from stores.errors import CorruptError
from stores.files import sha256_file
from stores.scrub import Scrub

log = logging.getLogger(__name__)


def verify_cube(path: Path, scrub: Scrub) -> list[str]:
    """List what of a cube is missing, altered, or lies where something else belongs."""
    findings: list[str] = []
    try:
        digests = load_digests(path)
        if digests is not None:
            findings += [
                *compare_metadata(path, digests),
                *_verify_frames(path, digests, scrub),
            ]
        cube = Cube.open(path)
        load_inputs(path, cube.version)
    except CorruptError as error:
        return [*findings, str(error)]
    if digests is None:
        return _verify_checksums(cube, scrub)
    files = (file for name in cube.variables for file in cube.frame_files(name))
    unproven = [file for file in files if file not in digests.frames]
    return findings + [f"{file} has no digest, so nothing proves it" for file in unproven]


def _verify_frames(path: Path, digests: CubeDigests, scrub: Scrub) -> Iterator[str]:
    """Compare files with their digests; the bytes of another place are named."""
    sampled = scrub.sample_files(digests.frames)
    namer = _FrameNamer(path, digests)
    for name, expected in digests.frames.items():
        scrub.advance()
        what = compare_file(path / name, expected, sizes_only=name not in sampled)
        if what:
            yield namer.describe(name, what)


def _verify_checksums(cube: Cube, scrub: Scrub) -> list[str]:
    """Read a cube without digests: what is missing or altered is seen, a swap is not."""
    log.warning(
        "%s was ingested before digests of its frames were kept, so a frame that lies at the "
        "place of another cannot be told; the next ingest that adds something records them, "
        "or: cubecast verify %s --accept",
        cube.path,
        cube.path.parent,
    )
    findings = []
    for name in cube.variables:
        for file in cube.frame_files(name):
            scrub.advance()
            if not (cube.path / file).is_file():
                findings.append(f"{file} is missing")
        try:
            cube.decode_all(name)
        except (CorruptError, OSError) as error:
            findings.append(str(error))
    return findings


class _FrameNamer:
    """Says of a file which times and pixels it stands for, and whose bytes it holds."""

    def __init__(self, path: Path, digests: CubeDigests) -> None:
        self.path = path
        self.digests = digests
        self.group = open_group(path)
        self.files = list_chunk_files(self.group)

    def describe(self, name: str, what: str) -> str:
        """Describe what happened to a file."""
        parts = [f"{name} {what}", self._where(name)]
        if what != "is missing" and (owner := self._owner(name)):
            parts.append(f"it holds what was ingested as {owner}")
        return "; ".join(parts)

    def _where(self, name: str) -> str:
        file = self.files.get(name)
        return (
            describe_chunk_path(name) if file is None else describe_chunk_file(self.group, file)
        )

    def _owner(self, name: str) -> str:
        """Find the frame whose bytes a file holds."""
        found = sha256_file(self.path / name)
        frames = self.digests.frames.items()
        owners = (other for other, digest in frames if digest["sha256"] == found)
        return next(owners, "")
