"""The register of a store: what was published and removed, line by line, in order.

It is append-only. A publication is entered as begun before its one rename and as published
after it, so that a crash between two writes can be told from a folder that somebody removed.
Every line seals itself and the one before; what a crash left of a last line is no line, but is
told of: a copy that was cut short ends in the same way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from stores.digests import canonical_json, digest_json
from stores.errors import CorruptError
from stores.files import MAX_JSON_BYTES, write_bytes
from stores.issue import ISSUES, STAGING, IssueKey, staged_issue_path
from stores.times import utc_now

REGISTER = ".register.jsonl"

Action = Literal["begun", "published", "removed"]
_ACTIONS = ("begun", "published", "removed")
_SEAL = "seal"
_SEAL_DIGITS = 16


@dataclass(frozen=True, slots=True)
class RegisterEntry:
    """What happened to one issue."""

    act: str
    recipe: str
    init: str
    revision: int
    issue: str
    """Digest of its key."""
    manifest: str
    """Digest of its manifest, which holds those of all its files."""
    when: str = field(default_factory=utc_now)

    @classmethod
    def of(cls, act: Action, key: IssueKey, revision: int, manifest: str) -> RegisterEntry:
        """Build the entry of what happened to the issue of a request."""
        return cls(act, key.name, key.init, revision, key.digest, manifest)

    @property
    def path(self) -> str:
        """Folder of the issue below those of all issues."""
        return issue_path(self.recipe, self.init, self.revision)

    def with_act(self, act: Action) -> RegisterEntry:
        """Build the entry of what happened next to the same issue."""
        return replace(self, act=act, when=utc_now())


@dataclass(frozen=True)
class Register:
    """All entries that can be proven, the latest of each issue, and what cannot be."""

    is_there: bool
    entries: tuple[RegisterEntry, ...] = ()
    findings: tuple[str, ...] = ()
    torn: str = ""
    """What is left of a last line that was cut in its middle."""

    @cached_property
    def latest(self) -> dict[str, RegisterEntry]:
        """Return the latest entry of every issue by its path."""
        return {entry.path: entry for entry in self.entries}

    @cached_property
    def manifest_digests(self) -> dict[str, set[str]]:
        """Return the digests of all manifests that were published at each path."""
        digests: dict[str, set[str]] = {}
        for entry in self.entries:
            digests.setdefault(entry.path, set()).add(entry.manifest)
        return digests

    @cached_property
    def cut_short(self) -> RegisterEntry | None:
        """Return the publication that was begun last, where the torn line may tell its end."""
        last = self.entries[-1] if self.entries else None
        if not self.torn or last is None or last.act != "begun":
            return None
        told = json.dumps(asdict(last.with_act("published")), sort_keys=True)
        known = told[: told.index(', "when"')]  # the seal comes before it
        return last if known.startswith(self.torn[: len(known)]) else None

    def check_manifest(self, path: str, manifest: str) -> None:
        """Refuse what was never published at a path where something else was.

        Raises:
            CorruptError: says what was.
        """
        known = self.manifest_digests.get(path)
        if known and manifest not in known:
            raise CorruptError(
                f"{ISSUES}/{path} is not what was published there: its manifest has digest "
                f"{manifest[:12]} and the register says {self.latest[path].manifest[:12]}; "
                "restore it from a copy, or move it away and forecast again"
            )


def revision_name(init: str, revision: int) -> str:
    """Return the folder of a revision: the first is called after the init_time alone."""
    return init if revision == 1 else f"{init}.r{revision}"


def issue_path(recipe: str, init: str, revision: int) -> str:
    """Return the folder of an issue, with that of its recipe."""
    return f"{recipe}/{revision_name(init, revision)}"


def is_missing(root: Path, register: Register, entry: RegisterEntry) -> bool:
    """Return whether an issue was published, not removed by us, and is not there.

    One whose publication was begun and that still lies in its stage was never published.
    """
    if (root / ISSUES / entry.path).exists():
        return False
    return entry.act == "published" or was_moved_from_stage(root, register, entry)


def was_moved_from_stage(root: Path, register: Register, entry: RegisterEntry) -> bool:
    """Return whether a publication that was begun came to the rename that publishes.

    Then only the rest of its stage is there, or a torn line was to say that it is published.
    """
    issue = staged_issue_path(root / STAGING, entry.recipe, entry.init, entry.issue)
    if entry.act != "begun" or issue.exists():
        return False
    return issue.parent.exists() or entry == register.cut_short


def read_register(root: Path) -> Register:
    """Read the register; a line that cannot be proven is left out and named."""
    path = root / REGISTER
    if not path.exists():
        return Register(is_there=False)
    if path.stat().st_size > MAX_JSON_BYTES:
        return Register(True, (), (_damaged(path, "is larger than any register"),))
    *lines, torn = path.read_bytes().split(b"\n")
    entries, wrong = [], 0
    for number, (entry, is_sealed) in enumerate(_parse(lines), start=1):
        if entry is not None and is_sealed:
            entries.append(entry)
        else:
            wrong = wrong or number
    found = (_damaged(path, f"was altered at line {wrong}"),) if wrong else ()
    return Register(True, tuple(entries), found, torn.decode(errors="replace"))


def append_entries(root: Path, entries: Iterable[RegisterEntry]) -> None:
    """Add lines, which are on the disk when this returns.

    Whoever calls this holds the lease of publications.
    """
    path = root / REGISTER
    before = path.read_bytes() if path.exists() else b""
    before = before[: before.rfind(b"\n") + 1]  # a crash may have left half a line
    seal = _last_seal(before)
    lines = b""
    for entry in entries:
        written = asdict(entry)
        seal = _seal(seal, written)
        lines += canonical_json(written | {_SEAL: seal}) + b"\n"
    if not before:
        write_bytes(path, lines)
        return
    with path.open("r+b") as file:
        file.truncate(len(before))
        file.seek(len(before))
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def _parse(lines: Iterable[bytes]) -> Iterator[tuple[RegisterEntry | None, bool]]:
    """Read whole lines, and tell of each whether its seal holds."""
    seal_before = ""
    for line in lines:
        written = _read_line(line)
        seal = str(written.pop(_SEAL, ""))
        try:
            entry = RegisterEntry(**written)
            is_sealed = seal == _seal(seal_before, written) and _has_valid_types(entry)
        except TypeError:
            entry = None
            is_sealed = False
        yield entry, is_sealed
        seal_before = seal


def _read_line(line: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return {}


def _has_valid_types(entry: RegisterEntry) -> bool:
    types = {"revision": int}
    is_typed = all(
        type(getattr(entry, f.name)) is types.get(f.name, str) for f in fields(entry)
    )
    return is_typed and entry.act in _ACTIONS


def _last_seal(content: bytes) -> str:
    last = content[:-1].rpartition(b"\n")[2]
    return str(_read_line(last).get(_SEAL, ""))


def _seal(before: str, written: dict[str, Any]) -> str:
    return digest_json(written, after=before)[:_SEAL_DIGITS]


def _damaged(path: Path, what: str) -> str:
    return (
        f"{path.name} {what}, so it cannot prove all that was published; restore it from a "
        "copy, or look at what is there and begin a new one: cubecast verify "
        f"{path.parent} --accept"
    )
