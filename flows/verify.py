"""Look for what is missing or altered in what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.console import console, echo, progress_bar
from stores.accept import accept as accept_found
from stores.formatting import pluralize
from stores.verify import verify as find_damage

_HINT = (
    "what is missing or altered can be copied back from elsewhere; or move the folder of the "
    "issue away, and the same forecast makes it again"
)


def verify(paths: Sequence[Path], *, sample: float = 1, accept: bool = False) -> bool:
    """Print what is missing or altered below each path; return whether all is sound.

    Args:
        paths: folders of issues, recipes, bundles, cubes or whole stores.
        sample: share of the files that are read.
        accept: first let what is there count as what was meant.

    Raises:
        ValueError: ``sample`` is no share of the files, or there is nothing at a path, or no
            store.
        CorruptError: what is damaged was to be accepted.
    """
    absent = [str(path) for path in paths if not path.exists()]
    if absent:
        raise ValueError(
            f"{', '.join(absent)} does not exist, so nothing was verified; name a published "
            "issue, a bundle, or a whole store"
        )
    is_sound = True
    for path in paths:
        for line in accept_found(path) if accept else ():
            echo(line)
        with progress_bar(f"reading {path.name}") as on_progress:
            findings = find_damage(path, sample=sample, on_progress=on_progress)
        is_sound &= not findings
        verdict = pluralize(len(findings), "finding") if findings else "sound"
        share = "" if sample == 1 else f", {100 * sample:g} % of its files read"
        style = "red" if findings else "green"
        console.print(f"{path}: {verdict}{share}", style=style, markup=False)
        for finding in findings:
            console.print(f"  {finding}", markup=False, highlight=False, soft_wrap=True)
    if not is_sound:
        echo(_HINT)
    return is_sound
