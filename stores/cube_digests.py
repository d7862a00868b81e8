"""Which bytes belong to which frame of a cube: digests that are committed with its frames.

A checksum inside a chunk says that its bytes are whole, not that they are of this month. So
every file of a frame is digested as it is written, and the record of all digests is named in
the root metadata, which the commit replaces last: both are there, or neither. Frames never
change once they are committed, so a growing cube keeps what was recorded.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from stores.arrays import METADATA_FILE, get_array, open_group
from stores.chunks import DECODE_ERRORS
from stores.cube import VERSION_KEY, Cube
from stores.cube_inputs import inputs_folder
from stores.digests import FileDigest, check_digest_record, digest_files, digest_json
from stores.errors import CorruptError
from stores.files import read_json, why_unreadable, write_json
from stores.names import X, Y, check_id

DIGESTS_KEY = "cubecast_digests"
"""Attribute of the root that names the record of digests; cubes of earlier versions lack it."""

log = logging.getLogger(__name__)

_THREADS = 4  # hashing lets go of the interpreter
# Of an array's own metadata, before the commit that shows it.
_MUTABLE_KEYS = ("shape", "attributes")


@dataclass(frozen=True, slots=True)
class CubeDigests:
    """What the files of a cube held when it was committed."""

    root: str
    """Of the root metadata, without the name of this record."""
    coordinates: Mapping[str, str] = field(default_factory=dict)
    """Of the values that a commit shows: the file itself may have grown since."""
    frames: Mapping[str, FileDigest] = field(default_factory=dict)
    """Of the files of all frames, by their paths in the cube."""

    @property
    def digest(self) -> str:
        """Hash of the content."""
        return digest_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Write as plain JSON."""
        return {
            "root": self.root,
            "coordinates": dict(self.coordinates),
            "frames": dict(self.frames),
        }


def way_out(cube: Path) -> str:
    """Describe what mends a damaged cube."""
    aside = cube.with_name(f"{cube.stem}-damaged{cube.suffix}")
    return (
        f"restore it from a copy, or move the cube away (mv {cube} {aside}) and ingest again "
        "with every recipe of its root: the same files give the same version"
    )


def digest_cube(
    group: zarr.Group, root: Mapping[str, Any], frames: Mapping[str, FileDigest]
) -> CubeDigests:
    """Digest what a commit will show: its metadata, coordinates and frames."""
    coordinates = {name: _digest_values(group, name) for name in _coordinate_names(root)}
    return CubeDigests(digest_json(_without_digest_name(root)), coordinates, frames)


def write_digests(cube: Path, version: str, digests: CubeDigests) -> str:
    """Write the record of a coming version; return what its root metadata has to name."""
    write_json(_digests_path(cube, version), digests.to_json())
    return digests.digest


def load_digests(cube: Path) -> CubeDigests | None:
    """Read the record that the last commit names; None where it was made without one.

    Raises:
        CorruptError: metadata or record are gone or altered.
    """
    root = _read_root(cube)
    named = root["attributes"].get(DIGESTS_KEY)
    if named is None:
        return None
    path = _digests_path(cube, str(root["attributes"].get(VERSION_KEY)))
    try:
        written = read_json(path)
        check_digest_record(written["frames"])
        digests = CubeDigests(**written)
        if digests.digest != named:
            raise ValueError("its content is not what the cube names")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if _read_root(cube) != root:  # committed meanwhile
            return load_digests(cube)
        raise CorruptError(
            f"{path} does not hold the digests of {cube.name} ({why_unreadable(error)}), so "
            f"nothing proves its frames; {way_out(cube)}"
        ) from error
    if digests.root != digest_json(_without_digest_name(root)):
        raise CorruptError(
            f"{cube / METADATA_FILE} was altered since the cube was committed, so its dates "
            f"and its grid may be wrong; {way_out(cube)}"
        )
    return digests


def digest_frame(work: Path, files: Iterable[Path]) -> dict[str, FileDigest]:
    """Digest the files of one frame, by their paths in the cube."""
    return digest_files(work, [file.relative_to(work).as_posix() for file in files])


def digest_existing_frames(cube: Cube) -> dict[str, FileDigest]:
    """Digest the frames of a cube that was made without a record, each after it was decoded.

    Raises:
        CorruptError: a file is missing or altered.
    """
    log.warning(
        "cube %s was ingested before digests of its frames were kept; all of it is read once, "
        "and what its checksums prove is recorded; that no frame was swapped before, only an "
        "ingest into a new root proves",
        cube.path,
    )
    for name in cube.variables:
        cube.decode_all(name)
    names = [file for name in cube.variables for file in cube.frame_files(name)]
    return digest_files(cube.path, names)


def repair_metadata(path: Path) -> None:
    """Refuse to grow a cube whose coordinates were altered; put its metadata right.

    The metadata of single arrays may be that of a growth which nobody finished: readers see
    what the root says of them, and so does the next commit.

    Raises:
        CorruptError: names them.
    """
    digests = load_digests(path)
    findings = [] if digests is None else list(_compare_coordinates(path, digests))
    if findings:
        raise CorruptError(f"cube {path} cannot grow: {'; '.join(findings)}; {way_out(path)}")
    for name, array in _consolidated_metadata(path).items():
        if _array_metadata(path / name / METADATA_FILE) != array:
            write_json(path / name / METADATA_FILE, array)


def compare_metadata(path: Path, digests: CubeDigests) -> list[str]:
    """List coordinates and metadata of arrays that are not what was committed."""
    return [
        *_compare_coordinates(path, digests),
        *(
            f"{name}/{METADATA_FILE} was altered; readers see what the root says of it"
            for name, array in sorted(_consolidated_metadata(path).items())
            if _immutable_part(_array_metadata(path / name / METADATA_FILE))
            != _immutable_part(array)
        ),
    ]


def _compare_coordinates(path: Path, digests: CubeDigests) -> Iterator[str]:
    group = open_group(path)
    for name in _coordinate_names(_read_root(path)):
        try:
            is_same = _digest_values(group, name) == digests.coordinates.get(name)
        except DECODE_ERRORS:
            is_same = False
        if not is_same:
            yield f"{name} was altered or is missing; it says where or when frames are"


def _coordinate_names(root: Mapping[str, Any]) -> list[str]:
    """List the arrays that are no maps."""
    members = root["consolidated_metadata"]["metadata"]
    dims = {name: set(array.get("dimension_names") or ()) for name, array in members.items()}
    return sorted(name for name in dims if not {Y, X} <= dims[name])


def _digest_values(group: zarr.Group, name: str) -> str:
    values = np.asarray(get_array(group, name)[...])
    header = f"{values.dtype.str} {values.shape} ".encode()
    return hashlib.sha256(header + np.ascontiguousarray(values).tobytes()).hexdigest()


def _read_root(cube: Path) -> dict[str, Any]:
    path = cube / METADATA_FILE
    try:
        root = dict(read_json(path))
        root["attributes"] = dict(root["attributes"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorruptError(
            f"{path} cannot be read ({why_unreadable(error)}), so nothing says what the cube "
            f"holds; {way_out(cube)}"
        ) from error
    return root


def _without_digest_name(root: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {key: v for key, v in root["attributes"].items() if key != DIGESTS_KEY}
    return {**root, "attributes": attributes}


def _consolidated_metadata(cube: Path) -> dict[str, Any]:
    return dict(_read_root(cube)["consolidated_metadata"]["metadata"])


def _array_metadata(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        return {}


def _immutable_part(array: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in array.items() if key not in _MUTABLE_KEYS}


def _digests_path(cube: Path, version: str) -> Path:
    return inputs_folder(cube) / f"{check_id(version, 'version')}.digests.json"
