"""What of a store is missing or altered, for the person who asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.console import console, echo, progress_bar
from flows.resolve import check_there
from stores.accept import accept as accept_found
from stores.cube import CUBE
from stores.cube_digests import way_out
from stores.formatting import pluralize
from stores.scrub import Part
from stores.verify import examine

_WAYS_OUT = {
    "cube": f"a damaged cube: {way_out(Path('ROOT', CUBE))}, so models and issues stay as they "
    "are",
    "issue": "a damaged issue: copy what is named back from elsewhere, or move its folder out "
    "of 'issues' and make it again with the same 'cubecast forecast'",
    "bundle": "a damaged bundle: copy what is named back from elsewhere, or move its folder "
    "out of 'models' and make it again with 'cubecast train RECIPE'",
}
"""A record says in its finding what to do with it."""


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
    check_there(paths)
    damaged: list[Part] = []
    for path in paths:
        for line in accept_found(path) if accept else ():
            echo(line)
        with progress_bar(f"reading {path.name}") as on_progress:
            found = examine(path, sample=sample, on_progress=on_progress)
        _show(path, found, sample)
        damaged += found
    for thing in dict.fromkeys(part.thing for part in damaged):
        if thing in _WAYS_OUT:
            echo(_WAYS_OUT[thing])
    return not damaged


def _show(path: Path, found: Sequence[Part], sample: float) -> None:
    findings = [finding for part in found for finding in part.findings]
    verdict = pluralize(len(findings), "finding") if findings else "sound"
    percent = "" if sample == 1 else f", {100 * sample:g} % of its files read"
    style = "red" if findings else "green"
    console.print(f"{path}: {verdict}{percent}", style=style, markup=False)
    for finding in findings:
        console.print(f"  {finding}", markup=False, highlight=False, soft_wrap=True)
