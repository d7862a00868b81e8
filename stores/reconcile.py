"""The issues on disk against what was entered in the register."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from stores.errors import CorruptError
from stores.issue import ISSUES, IssueKey
from stores.manifest import (
    REGISTERED,
    check_location,
    digest_manifest,
    own_place,
    read_manifest,
)
from stores.published import find_revisions, list_issue_folders, published_issues
from stores.register import (
    REGISTER,
    Register,
    RegisterEntry,
    append_entries,
    is_missing,
    read_register,
    was_moved_from_stage,
)

logger = logging.getLogger(__name__)


def next_revision(root: Path, key: IssueKey) -> int:
    """Return the revision of a request: the one it had before if that is gone, else a new one.

    A number that was ever given is not given to another request.
    """
    register = read_register(root)
    on_disk = find_revisions(root, key.name, key.init)
    entries = [
        e for e in register.latest.values() if (e.recipe, e.init) == (key.name, key.init)
    ]
    for entry in entries:
        is_ours = entry.issue == key.digest and entry.act != "removed"
        if is_ours and entry.revision not in on_disk:
            return entry.revision
    return max([*on_disk, *(entry.revision for entry in entries)], default=0) + 1


def reconcile_register(root: Path) -> None:
    """Enter what a crash left unsaid, and begin the register of a store that has none.

    Whoever calls this holds the lease of publications.
    """
    register = read_register(root)
    for finding in register.findings:
        logger.warning("%s", finding)
    if not register.is_there:
        _bootstrap_register(root)
        return
    late = [entry.with_act("published") for entry in _find_unreconciled(root, register)]
    if late or register.torn:
        append_entries(root, late)


def is_reconciled(root: Path) -> bool:
    """Return whether ``reconcile_register`` has nothing to enter."""
    register = read_register(root)
    return not register.torn and not any(_find_unreconciled(root, register))


def check_register(root: Path, prefix: str = "") -> list[str]:
    """List what is missing, was never published, or is not what was published.

    Args:
        root: folder of the store.
        prefix: path of an issue, or the folder of a recipe with '/', to check these alone.
    """
    # Folders first: whoever publishes or removes meanwhile enters it before he does it.
    folders = {f"{path.parent.name}/{path.name}": path for path in list_issue_folders(root)}
    selected = {
        location: path for location, path in folders.items() if location.startswith(prefix)
    }
    register = read_register(root)
    if not register.is_there:
        return _describe_lost_register(root, list(selected.values()))
    moved = set(_own_names(selected.values()))  # said of where they are now
    gone = (
        f"{ISSUES}/{entry.path} is missing: it was published {entry.when[:10]}; restore it "
        "from a copy, or make it again with the same forecast, or say that it was meant to go: "
        f"cubecast verify {root} --accept"
        for entry in _find_missing(root, register)
        if entry.path.startswith(prefix) and (entry.path, entry.manifest) not in moved
    )
    unexpected = (
        _describe_unexpected(root, location, path, register)
        for location, path in selected.items()
    )
    findings = [*register.findings, *_describe_torn(root, register)]
    return [*findings, *gone, *filter(None, unexpected)]


def _describe_torn(root: Path, register: Register) -> Iterator[str]:
    """Describe a last line that ends in its middle, with the issue it may have been about."""
    if not register.torn:
        return
    cut = register.cut_short
    is_there = cut is not None and (root / ISSUES / cut.path).exists()
    about = f" (of {ISSUES}/{cut.path}, which is there)" if cut and is_there else ""
    yield (
        f"{REGISTER} ends in the middle of its last line{about}, as a crash or a copy that was "
        "cut short leaves it, so what that line said is lost; restore it from a copy, or let "
        f"the next forecast put it right, or do it at once: cubecast verify {root} --accept"
    )


def _find_missing(root: Path, register: Register) -> list[RegisterEntry]:
    """List what is gone, and was not removed while we looked."""
    gone = [entry for entry in register.latest.values() if is_missing(root, register, entry)]
    now = read_register(root).latest if gone else {}
    return [entry for entry in gone if now.get(entry.path) == entry]


def _own_names(folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yield the path at which each issue was published, and the digest of its manifest."""
    for path in folders:
        with suppress(CorruptError):
            manifest = read_manifest(path)
            yield own_place(manifest), digest_manifest(manifest)


def _describe_unexpected(root: Path, location: str, path: Path, register: Register) -> str:
    """Describe why a folder is not what was published there; empty where it says so."""
    try:
        manifest = read_manifest(path)
        check_location(path, manifest)
    except CorruptError:
        return ""  # is among the issue's own findings
    try:
        register.check_manifest(location, digest_manifest(manifest))
    except CorruptError as error:
        return str(error)
    if (
        location in register.latest or register.findings
    ):  # a line that cannot be proven may name it
        return ""
    return (
        f"{ISSUES}/{location} is not in the register, so it was not published here; move it "
        f"away, or say that it was meant to come: cubecast verify {root} --accept"
    )


def _describe_lost_register(root: Path, folders: list[Path]) -> list[str]:
    """Describe that a register is gone; a store from before there was one is warned of."""
    if any(_was_registered(path) for path in folders):
        return [
            f"{REGISTER} is gone, so nobody can tell whether an issue was removed or renamed; "
            f"restore it from a copy, or look at what is there and begin a new one: "
            f"cubecast verify {root} --accept"
        ]
    if folders:
        logger.warning(
            "%s was published before a register was kept, so issues that were removed or "
            "renamed since cannot be told; the next publication begins it, or: cubecast "
            "verify %s --accept",
            root,
            root,
        )
    return []


def _was_registered(path: Path) -> bool:
    try:
        return bool(read_manifest(path)["made"].get(REGISTERED))
    except CorruptError:
        return False


def _bootstrap_register(root: Path) -> None:
    """Enter all issues that are complete, where no register was ever kept."""
    issues = [i for of_recipe in published_issues(root).values() for i in of_recipe]
    if not issues:
        return
    if any(_was_registered(issue.path) for issue in issues):
        logger.warning("%s", _describe_lost_register(root, [issue.path for issue in issues])[0])
        return
    append_entries(root, [issue.register_entry("published") for issue in issues])
    logger.warning(
        "%s was published before a register was kept: its %d whole issues are entered as they "
        "are; whether some were removed or changed before cannot be told",
        root,
        len(issues),
    )


def _find_unreconciled(root: Path, register: Register) -> Iterator[RegisterEntry]:
    """Find entries that are behind what is on the disk: cut short, or put back from a copy."""
    for entry in register.latest.values():
        is_there = (root / ISSUES / entry.path).exists()
        is_late = is_there and entry.act != "published"
        if is_late or was_moved_from_stage(root, register, entry):
            yield entry
