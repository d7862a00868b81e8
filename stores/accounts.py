"""What lies on the shelf against what was entered in the register."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from stores.errors import CorruptError
from stores.issue import ISSUES, IssueKey
from stores.manifest import (
    REGISTERED,
    check_place,
    digest_manifest,
    own_place,
    read_manifest,
)
from stores.published import issue_folders, published_issues, revisions_of
from stores.register import (
    REGISTER,
    Entry,
    Register,
    enter,
    has_left_stage,
    is_missing,
    read_register,
)

logger = logging.getLogger(__name__)


def next_revision(root: Path, key: IssueKey) -> int:
    """Number the issue of a request: what it was before if that is gone, else one of its own.

    A number that was ever given is not given to another request.
    """
    register, there = read_register(root), revisions_of(root, key.name, key.init)
    same = [e for e in register.last.values() if (e.recipe, e.init) == (key.name, key.init)]
    for entry in same:
        is_ours = entry.issue == key.digest and entry.act != "removed"
        if is_ours and entry.revision not in there:
            return entry.revision
    return max([*there, *(entry.revision for entry in same)], default=0) + 1


def settle(root: Path) -> None:
    """Enter what a crash left unsaid, and begin the register of a store that has none.

    Whoever calls this holds the lease of publications.
    """
    register = read_register(root)
    for finding in register.findings:
        logger.warning("%s", finding)
    if not register.is_there:
        _begin(root)
        return
    late = [entry.then("published") for entry in _unsettled(root, register)]
    if late or register.torn:
        enter(root, late)


def is_settled(root: Path) -> bool:
    """Tell whether there is nothing that ``settle`` would enter into a register."""
    register = read_register(root)
    return not register.torn and not any(_unsettled(root, register))


def check_register(root: Path, within: str = "") -> list[str]:
    """List what is missing, was never published, or is not what was published.

    Args:
        root: folder of the store.
        within: place of an issue, or the folder of a recipe with '/', to ask of these alone.
    """
    # Folders first: whoever publishes or removes meanwhile enters it before he does it.
    folders = {f"{path.parent.name}/{path.name}": path for path in issue_folders(root)}
    asked = {place: path for place, path in folders.items() if place.startswith(within)}
    register = read_register(root)
    if not register.is_there:
        return _without_register(root, list(asked.values()))
    moved = set(_own_names(asked.values()))  # said of where they are now
    gone = (
        f"{ISSUES}/{entry.place} is missing: it was published {entry.when[:10]}; restore it "
        "from a copy, or make it again with the same forecast, or say that it was meant to go: "
        f"cubecast verify {root} --accept"
        for entry in _missing(root, register)
        if entry.place.startswith(within) and (entry.place, entry.manifest) not in moved
    )
    strange = (_strange(root, place, path, register) for place, path in asked.items())
    findings = [*register.findings, *_tell_torn(root, register)]
    return [*findings, *gone, *filter(None, strange)]


def _tell_torn(root: Path, register: Register) -> Iterator[str]:
    """Say that the last line ends in its middle, and which issue it may have been about."""
    if not register.torn:
        return
    cut = register.cut_short
    is_there = cut is not None and (root / ISSUES / cut.place).exists()
    about = f" (of {ISSUES}/{cut.place}, which is there)" if cut and is_there else ""
    yield (
        f"{REGISTER} ends in the middle of its last line{about}, as a crash or a copy that was "
        "cut short leaves it, so what that line said is lost; restore it from a copy, or let "
        f"the next forecast put it right, or do it at once: cubecast verify {root} --accept"
    )


def _missing(root: Path, register: Register) -> list[Entry]:
    """List what is gone, and was not removed while we looked."""
    gone = [entry for entry in register.last.values() if is_missing(root, register, entry)]
    now = read_register(root).last if gone else {}
    return [entry for entry in gone if now.get(entry.place) == entry]


def _own_names(folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Give the place at which each issue was published, and the digest of its manifest."""
    for path in folders:
        with suppress(CorruptError):
            manifest = read_manifest(path)
            yield own_place(manifest), digest_manifest(manifest)


def _strange(root: Path, place: str, path: Path, register: Register) -> str:
    """Say why a folder is not what was published there; nothing where it says so itself."""
    try:
        manifest = read_manifest(path)
        check_place(path, manifest)
    except CorruptError:
        return ""  # the issue's own findings tell
    try:
        register.check_known(place, digest_manifest(manifest))
    except CorruptError as error:
        return str(error)
    if place in register.last or register.findings:  # a line that cannot be proven may name it
        return ""
    return (
        f"{ISSUES}/{place} is not in the register, so it was not published here; move it away, "
        f"or say that it was meant to come: cubecast verify {root} --accept"
    )


def _without_register(root: Path, folders: list[Path]) -> list[str]:
    """Say that a register is gone; a store from before there was one is warned of."""
    if any(_claims_register(path) for path in folders):
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


def _claims_register(path: Path) -> bool:
    try:
        return bool(read_manifest(path)["made"].get(REGISTERED))
    except CorruptError:
        return False


def _begin(root: Path) -> None:
    """Enter all issues that are whole, where no register was ever kept."""
    issues = [issue for shelf in published_issues(root).values() for issue in shelf]
    if not issues:
        return
    if any(_claims_register(issue.path) for issue in issues):
        logger.warning("%s", _without_register(root, [issue.path for issue in issues])[0])
        return
    enter(root, [issue.entry("published") for issue in issues])
    logger.warning(
        "%s was published before a register was kept: its %d whole issues are entered as they "
        "are; whether some were removed or changed before cannot be told",
        root,
        len(issues),
    )


def _unsettled(root: Path, register: Register) -> Iterator[Entry]:
    """Give entries that are behind what is on the disk: cut short, or put back from a copy."""
    for entry in register.last.values():
        is_there = (root / ISSUES / entry.place).exists()
        is_late = is_there and entry.act != "published"
        if is_late or has_left_stage(root, register, entry):
            yield entry
